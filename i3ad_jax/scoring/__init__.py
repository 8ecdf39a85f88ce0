"""From images and reconstructions to anomaly maps, scores and metrics."""
