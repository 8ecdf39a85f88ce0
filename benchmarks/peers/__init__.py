"""Detectors that others wrote, and ours, on the same images within the same time."""
