"""What to know of a data set before training on it; `inspection.py` puts it together."""
