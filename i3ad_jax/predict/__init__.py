"""`predict`: scores of many images without labels."""
