"""Bad input by machine: every case ends as promised, whatever is wrong with it.

`python -m tests.faults` from the root of the project tries all cases in some minutes and prints a table and
each miss; `--sample 200` tries so many of them, and `--only NAME` one, whose folder `--keep FOLDER` leaves.
"""
