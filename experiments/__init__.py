"""Experiments with the package: the paper's tables, measured here."""
