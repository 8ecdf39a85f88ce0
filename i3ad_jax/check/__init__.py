"""`check`: problems of a data set, and what a training on it would cost."""
