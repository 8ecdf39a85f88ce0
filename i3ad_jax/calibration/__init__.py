"""Calibration: thresholds and test-time parameters from normal images that were not trained on."""
