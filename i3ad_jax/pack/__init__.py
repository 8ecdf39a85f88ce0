"""`pack`: a data set decoded once."""
