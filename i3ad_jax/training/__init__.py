# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Training as an iterator of steps."""
