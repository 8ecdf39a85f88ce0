"""Side by side with PyTorch, and against what the machine can do. `README.md` here explains the figures."""
