"""Bad input by machine: every case ends as promised, whatever is wrong with it.

`python -m tests.faults` from the root of the project tries all cases in some minutes and prints a
table and each miss; `--sample 200` tries 200 of them, and `--only NAME` one, whose folder
`--keep FOLDER` leaves.

Beside it, `python -m tests.faults.kills` stops commands at random moments, `python -m
tests.faults.full_disk` fills the disk at every write, and `python -m tests.faults.damage` damages
every file in place. A command that continues afterwards must end in the very same bits.
"""
