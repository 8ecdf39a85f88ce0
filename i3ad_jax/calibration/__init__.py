"""What a detector learns from normal images that were not trained on."""
