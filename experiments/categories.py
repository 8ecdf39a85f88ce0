"""Categories that --data names, and the rows of a table that average over them."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from i3ad_jax.data.layouts import LAYOUTS
from i3ad_jax.data.textures import TEXTURES as BUILT_IN
from i3ad_jax.errors import InputError

TEXTURES = ("carpet", "grid", "leather", "tile", "wood")
OBJECTS = (
    *("bottle", "cable", "capsule", "hazelnut", "metal_nut"),
    *("pill", "screw", "toothbrush", "transistor", "zipper"),
)
PAPER_ROWS = {"texture": TEXTURES, "object": OBJECTS, "total": (*TEXTURES, *OBJECTS)}


def categories(entries: Sequence[str]) -> dict[str, str]:
    """Data in the form that `train` takes, by the category's name.

    Raises:
        InputError: an entry names no data set, or two have one name.
    """
    found: dict[str, str] = {}
    for entry in entries:
        for name, data in _expand(entry):
            if name in found or name in PAPER_ROWS:
                also = f"{found[name]} is a category" if name in found else "a row of means is"
                raise InputError(f"--data {data}: {also} called {name} too; rename the folder")
            found[name] = data
    return found


def category_name(folder: str) -> str:
    """Return the category's name: the paper's if the folder's name is one, else the folder's."""
    name = folder.removeprefix("mvtec_")
    return name if name in PAPER_ROWS["total"] else folder


def table_rows(categories: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the categories that each row averages over: single categories, then the means.

    Categories are in the paper's order, then the built-in textures, then others as they come. The
    others are part of the total alone.
    """
    order = (*PAPER_ROWS["total"], *BUILT_IN)
    listed = sorted(categories, key=lambda name: order.index(name) if name in order else len(order))
    return {
        **{name: (name,) for name in listed},
        "texture": tuple(name for name in listed if name in (*TEXTURES, *BUILT_IN)),
        "object": tuple(name for name in listed if name in OBJECTS),
        "total": tuple(listed),
    }


def _expand(entry: str) -> list[tuple[str, str]]:
    """Name and data of each category that one entry of --data stands for."""
    source, _, name = entry.partition(":")
    if source == "tfds":
        return [(category_name(PurePosixPath(name).name), entry)]
    if source == "textures":
        if name and name not in BUILT_IN:
            raise InputError(f"--data {entry}: no such texture; one of {', '.join(BUILT_IN)}")
        return [(kind, f"textures:{kind}") for kind in ([name] if name else BUILT_IN)]
    root = Path(entry)
    try:
        inside = [] if root.is_file() else sorted(path for path in root.iterdir() if path.is_dir())
    except OSError as error:
        raise InputError(
            f"--data {entry}: cannot be listed ({error.strerror}); give a folder"
        ) from error
    found = [root] if _has_labels(root) else [path for path in inside if _has_labels(path)]
    if not found:
        raise InputError(
            f"--data {entry}: neither it nor a folder in it is of a layout that has test images;"
            " see docs/own-images.md"
        )
    return [
        (category_name(path.stem if path.is_file() else path.resolve().name), str(path))
        for path in found
    ]


def _has_labels(path: Path) -> bool:
    """Return whether a folder or file is a data set with test images: any layout but `flat`."""
    return any(layout.matches(path) for name, layout in LAYOUTS.items() if name != "flat")
