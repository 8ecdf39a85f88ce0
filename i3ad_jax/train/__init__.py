"""`train`: a training session in a run folder."""
