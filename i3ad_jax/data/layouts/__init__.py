"""Layouts of data sets on disk. To add one: a class, its name in `LayoutName`, and its row in `LAYOUTS`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from i3ad_jax.data.layouts.class_folders import ClassFolders
from i3ad_jax.data.layouts.flat import Flat
from i3ad_jax.data.layouts.kolektor import KolektorSdd, KolektorSdd2
from i3ad_jax.data.layouts.layout import Layout
from i3ad_jax.data.layouts.manifest import Manifest
from i3ad_jax.data.layouts.mvtec_loco import MvtecLoco
from i3ad_jax.data.layouts.visa import Visa
from i3ad_jax.errors import InputError

LayoutName = Literal[
    "auto",
    "mvtec",
    "mvtec_loco",
    "mvtec_ad_2",
    "visa",
    "btad",
    "kolektor_sdd",
    "kolektor_sdd2",
    "flat",
    "manifest",
]

LAYOUTS: Mapping[LayoutName, Layout] = {
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


def find_layout(root: Path, *, name: LayoutName = "auto") -> Layout:
    """The layout of this name, or by "auto" the one that `root` has.

    Args:
        root: a folder or file that exists.
        name: see above.

    Raises:
        InputError: `root` has none of the layouts, could be of several, or is a file where a folder is needed
            or the other way round.
    """
    if name != "auto":
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
