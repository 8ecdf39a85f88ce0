"""Learning to mark anomalous pixels from synthetic defects; knows no network."""
