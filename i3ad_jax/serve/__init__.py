"""`serve`: scores of images that clients upload, by HTTP."""
