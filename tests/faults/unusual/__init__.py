"""Well-formed but unusual input, which must give the very result of the usual form.

What is not read is refused with its cause.
"""

from collections.abc import Iterator

from tests.faults.case import Case

from . import codings, depths, folders, manifests, masks, names, orientations, pngs, refused, tiffs


def cases() -> Iterator[Case]:
    """Cases of pictures, masks, folders, names and tables in forms that users have."""
    pictures = (tiffs, pngs, codings, depths, orientations, refused)
    for module in (*pictures, masks, folders, names, manifests):
        yield from module.cases()
