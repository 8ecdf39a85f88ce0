"""Anomaly maps, scores and metrics of images and their reconstructions."""
