"""Scoring many images: rows of a table, by this process or by workers of a cluster."""
