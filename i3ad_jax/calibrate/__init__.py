"""`calibrate`: a trained run with the calibration of new normal images."""
