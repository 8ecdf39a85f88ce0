"""Conversion of pixels to a network's input, and of its outputs to maps and pictures."""
