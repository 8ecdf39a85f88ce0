"""The report of a run: page, charts and pictures."""
