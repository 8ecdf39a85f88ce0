"""Layouts of data sets on disk.

To add one: a class, and its row in `LAYOUTS`; or `register_layout` in your own code.
"""

from pathlib import Path

from i3ad_jax.data.layouts.class_folders import ClassFolders
from i3ad_jax.data.layouts.flat import Flat
from i3ad_jax.data.layouts.kolektor import KolektorSdd, KolektorSdd2
from i3ad_jax.data.layouts.layout import Layout
from i3ad_jax.data.layouts.manifest import Manifest
from i3ad_jax.data.layouts.mvtec_loco import MvtecLoco
from i3ad_jax.data.layouts.visa import Visa
from i3ad_jax.errors import InputError
from i3ad_jax.settings import SettingError

LAYOUTS: dict[str, Layout] = {
    "mvtec": ClassFolders(),
    "mvtec_loco": MvtecLoco(),
    "mvtec_ad_2": ClassFolders(
        signs=("train/good", "test_public"),
        train=("train/good", "validation/good"),
        test="test_public",
        ground_truth="test_public/ground_truth",
    ),
    "visa": Visa(),
    "btad": ClassFolders(signs=("train/ok",), train=("train/ok",), normal="ok"),
    "kolektor_sdd": KolektorSdd(),
    "kolektor_sdd2": KolektorSdd2(),
    "flat": Flat(),
    "manifest": Manifest(),
}


AUTO = "auto"  # the layout that the folder has


def register_layout(name: str, layout: Layout) -> None:
    """Add a layout of your own, for this process.

    Args:
        name: for `--layout` and `layout=`.
        layout: says which images and masks a folder has.

    Raises:
        InputError: there is such a layout already.
    """
    if name in (AUTO, *LAYOUTS):
        raise InputError(f"layout {name}: is there already; choose another name")
    LAYOUTS[name] = layout


def check_layout(name: str) -> None:
    """Raise SettingError unless there is a layout of this name."""
    if name not in (known := (AUTO, *LAYOUTS)):
        raise SettingError("layout", name, f"must be one of {', '.join(known)}")


def find_layout(root: Path, *, name: str = AUTO) -> Layout:
    """The layout of this name, or by "auto" the one that `root` has.

    Args:
        root: a folder or file that exists.
        name: see above.

    Raises:
        InputError: there is no such layout, `root` has none of them, could be of several, or is a
            file where a folder is needed or the other way round.
    """
    check_layout(name)
    if name != AUTO:
        layout = LAYOUTS[name]
        if layout.is_file == root.is_dir():
            kinds = ("a file", "a folder") if layout.is_file else ("a folder", "a file")
            raise InputError(f"--layout {name}: needs {kinds[0]}, but {root} is {kinds[1]}")
        return layout
    matching = {name: layout for name, layout in LAYOUTS.items() if layout.matches(root)}
    signs = [{*layout.signs} for layout in matching.values()]
    found = {
        name: layout
        for name, layout in matching.items()
        if not any({*layout.signs} < s for s in signs)
    }
    if not found:
        known = "; ".join(f"{name} ({', '.join(layout.signs)})" for name, layout in LAYOUTS.items())
        raise InputError(
            f"--data {root}: of no known layout; looked for {known}. Name one by --layout"
        )
    if len(found) > 1:
        raise InputError(
            f"--data {root}: could be {' or '.join(found)}; name the layout by --layout"
        )
    return next(iter(found.values()))
