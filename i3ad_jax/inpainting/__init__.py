# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""The paper: masks, training losses, and the test-time loop; knows no network."""
