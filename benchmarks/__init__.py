"""Benchmarks against PyTorch and against the limits of the machine.

`README.md` in this folder explains the figures.
"""
