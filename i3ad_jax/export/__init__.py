"""`export`: a detector as one program that runs without this package."""
