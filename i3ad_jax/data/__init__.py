"""Data sets: built-in textures, folders and tables in several layouts, TensorFlow Datasets."""
