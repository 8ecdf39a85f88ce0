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
from i3ad_jax.data.layouts.normal_and_defective import NormalAndDefective
from i3ad_jax.data.layouts.visa import Visa
from i3ad_jax.data.search import list_folder
from i3ad_jax.errors import InputError, did_you_mean
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
    "folders": NormalAndDefective(),
    "flat": Flat(),
    "manifest": Manifest(),
}


AUTO = "auto"  # the layout that the folder has
_SHOWN = 4  # folders in a message
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".zst", ".7z", ".rar")


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
        problem = f"must be one of {', '.join(known)}{did_you_mean(name, known)}"
        raise SettingError("layout", name, problem)


def find_layout(root: Path, *, name: str = AUTO, normal: tuple[str, ...] = ()) -> Layout:
    """The layout of this name, or by "auto" the one that `root` has.

    Args:
        root: a folder or file that exists.
        name: see above.
        normal: names of folders of normal images beside the usual ones.

    Raises:
        InputError: there is no such layout, `root` has none of them, could be of several, or is a
            file where a folder is needed or the other way round.
    """
    check_layout(name)
    layouts = {own: x.with_normal(normal) for own, x in LAYOUTS.items()} if normal else LAYOUTS
    if name != AUTO:
        layout = layouts[name]
        if layout.is_file == root.is_dir():
            kinds = ("a file", "a folder") if layout.is_file else ("a folder", "a file")
            raise InputError(f"--layout {name}: needs {kinds[0]}, but {root} is {kinds[1]}")
        return layout
    found = _matching(root, layouts)
    if not found:
        raise InputError(f"--data {root}: {_problem(root, layouts)}")
    if len(found) > 1:
        raise InputError(
            f"--data {root}: could be {' or '.join(found)}; name the layout by --layout"
        )
    return next(iter(found.values()))


def _matching(root: Path, layouts: dict[str, Layout]) -> dict[str, Layout]:
    """Return the layouts that a folder or file has, by the usual names or else by others."""
    matching = {name: layout for name, layout in layouts.items() if layout.matches(root)} or {
        name: layout for name, layout in layouts.items() if layout.resembles(root)
    }
    signs = [{*layout.signs} for layout in matching.values()]
    return {
        name: layout
        for name, layout in matching.items()
        if not any({*layout.signs} < s for s in signs)
    }


def _problem(root: Path, layouts: dict[str, Layout]) -> str:
    """Return why a folder or file has no layout, and what to do."""
    if not root.is_dir():
        if root.name.lower().endswith(ARCHIVES):
            return "is an archive; extract it and name the folder"
        return "must be a folder, or a table (.csv or .parquet)"
    images, folders, _ = list_folder(root)
    if not images and not folders:
        return "has no images and no folders; put normal images there"
    inner = {name: layout for name, layout in layouts.items() if name != "flat"}
    if (inside := next((f for f in folders if _matching(f, inner)), None)) is not None:
        return f"holds data sets; name one of them, such as {inside}"
    for name, layout in layouts.items():
        if (lacking := layout.lacks(root)) is not None:
            return f"no known layout; nearest: {name}, but {lacking}"
    with_images = [folder.name for folder in folders if list_folder(folder).images]
    where = ", ".join(with_images[:_SHOWN]) + (", ..." if with_images[_SHOWN:] else "")
    has = f"has images in {where}" if with_images else "found neither train/good nor good and bad"
    return f"no known layout; {has}: name the folder of normal images with --normal DIR"
