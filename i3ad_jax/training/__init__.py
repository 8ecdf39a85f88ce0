# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Training: an iterator of steps, and the same with checkpoints and a log in a run folder."""
