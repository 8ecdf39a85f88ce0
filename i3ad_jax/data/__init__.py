"""Data sets: built-in textures, folders in MVTec layout, TensorFlow Datasets."""
