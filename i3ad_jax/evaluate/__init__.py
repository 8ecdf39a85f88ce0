"""`evaluate`: the test of a trained run on labelled images."""
