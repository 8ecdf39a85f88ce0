"""Every layout of a data set, whole and with its files and folders in disorder."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.layout_trees import TREES, Tree

from .case import Case, Expected, Material
from .commands import COMMANDS, PACK, on
from .files import DAMAGE, written

Disorder = Callable[[Tree], None]


def cases() -> Iterator[Case]:
    """Cases of data sets, which are packed."""
    for layout in TREES:
        # `check` takes seconds, and lists files by the same code: one layout will do for it.
        for command in ("pack", "check") if layout == "mvtec" else ("pack",):
            yield _case(layout, "whole", lambda tree: None, "accepted", command)
            for name, (disorder, expected) in _DISORDERS.items():
                # the layout folders divides the normal images that remain
                divides = (layout, name) == ("folders", "one-training-image")
                end = expected if command == "pack" and not divides else "either"
                yield _case(layout, name, disorder, end, command)
    tables: tuple[str, ...] = ("manifest", "visa")
    for table in tables:
        for damage, (spoil, _) in DAMAGE.items():
            yield _table(table, damage, lambda file, rng, spoil=spoil: spoil(file, rng))
        for name, content in _TABLES.items():
            yield _table(table, name, written(content))


def _case(layout: str, name: str, disorder: Disorder, expected: Expected, command: str) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        tree = TREES[layout](folder / "tree")
        disorder(tree)
        (folder / "data").symlink_to(tree.source)
        if layout in ("visa", "manifest"):  # what is beside the data matters
            (folder / "data").unlink()
            (folder / "data").symlink_to(tree.source.parent)

    source = {"visa": "data/candle", "manifest": "data/parts.csv"}.get(layout, "data")
    arguments = on(COMMANDS[command], data=source)
    return Case(f"layouts/{layout}/{name}/{command}", arguments, expected, prepare=prepare)


def _table(layout: str, name: str, spoil: Callable[[Path, np.random.Generator], None]) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        tree = TREES[layout](folder / "data")
        table = tree.source if layout == "manifest" else folder / "data/VisA/split_csv/1cls.csv"
        spoil(table, rng)

    source = {"visa": "data/VisA/candle", "manifest": "data/parts.csv"}[layout]
    return Case(f"layouts/{layout}/table-{name}", on(PACK, data=source), "either", prepare=prepare)


def _a_train_image(tree: Tree) -> Path:
    return tree.base / tree.train[0]


def _no_training_images(tree: Tree) -> None:
    for name in tree.train:
        (tree.base / name).unlink()


def _renamed(name: bytes) -> Disorder:
    def disorder(tree: Tree) -> None:
        file = _a_train_image(tree)
        file.rename(os.fsdecode(os.fsencode(file.parent) + b"/" + name))

    return disorder


def _added(name: bytes) -> Disorder:
    def disorder(tree: Tree) -> None:
        file = _a_train_image(tree)
        shutil.copy(file, os.fsdecode(os.fsencode(file.parent) + b"/" + name))

    return disorder


def _class_folder(name: bytes) -> Disorder:
    def disorder(tree: Tree) -> None:
        folder = os.fsdecode(os.fsencode(tree.base) + b"/test/" + name)
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(_a_train_image(tree), folder)

    return disorder


def _instead(damage: str) -> Disorder:
    return lambda tree: DAMAGE[damage][0](_a_train_image(tree), np.random.default_rng(0))


def _mask_of_other_size(tree: Tree) -> None:
    if tree.a_mask is not None:
        Image.new("L", (5, 7), 255).save(tree.a_mask)


def _mask_without_image(tree: Tree) -> None:
    if tree.a_mask is not None:
        shutil.copy(tree.a_mask, tree.a_mask.with_name(f"no_such_image{tree.a_mask.suffix}"))


def _masks_all_defect(tree: Tree) -> None:
    if tree.a_mask is not None:
        Image.new("L", Image.open(tree.a_mask).size, 255).save(tree.a_mask)


def _loose_image(tree: Tree) -> None:
    shutil.copy(_a_train_image(tree), tree.base / "loose.png")


def _empty(tree: Tree) -> None:
    shutil.rmtree(tree.base)
    tree.source.mkdir(parents=True, exist_ok=True)


def _one_training_image(tree: Tree) -> None:
    for name in tree.train[1:]:
        (tree.base / name).unlink()


def _equal_images(tree: Tree) -> None:
    for name in tree.train[1:]:
        shutil.copy(_a_train_image(tree), tree.base / name)


def _black(tree: Tree) -> None:
    for name in (*tree.train, *tree.test):
        Image.new("RGB", (16, 12)).save(tree.base / name)


_DISORDERS: Mapping[str, tuple[Disorder, Expected]] = {
    "no-training-images": (_no_training_images, "refused"),
    "one-training-image": (_one_training_image, "refused"),
    "equal-images": (_equal_images, "either"),
    "black": (_black, "accepted"),
    "empty": (_empty, "refused"),
    "loose-image": (_loose_image, "either"),
    "mask-of-other-size": (_mask_of_other_size, "either"),
    "mask-without-image": (_mask_without_image, "either"),
    "mask-all-defect": (_masks_all_defect, "accepted"),
    **{
        f"image-{damage}": (_instead(damage), "refused")
        for damage in DAMAGE
        if DAMAGE[damage][1] == "refused"
    },
    "image-folder": (_instead("folder"), "either"),
    "name-not-utf-8": (_added(b"a\xff.png"), "either"),
    "renamed-not-utf-8": (_renamed(b"\xff\xfe.png"), "either"),
    "name-with-newline": (_added(b"a\nb.png"), "either"),
    "name-with-comma-and-quotes": (_added(b"a,'\"b.png"), "either"),
    "name-with-html": (_added(b"<script>.png"), "either"),
    "name-long": (_added(b"x" * 251 + b".png"), "either"),
    "name-hidden": (_added(b".png"), "either"),
    "class-not-utf-8": (_class_folder(b"\xe4\xff"), "either"),
    "class-with-newline": (_class_folder(b"a\nb"), "either"),
    "class-called-all": (_class_folder(b"all"), "either"),
}
_TABLES = {
    "no-header": b"pictures/1.png,train,good,\n",
    "bom": b"\xef\xbb\xbfpath,split,label\npictures/1.png,train,good\npictures/2.png,train,good\n",
    "utf-16": "path,split,label\npictures/1.png,train,good\n".encode("utf-16"),
    "latin-1": b"path,split,label\npictures/\xe4.png,train,good\n",
    "nul": b"path,split,label\npictures/\x001.png,train,good\n",
    "quote": b'path,split,label\n"pictures/1.png,train,good\n',
    "long-cell": b"path,split,label\n" + b"x" * 200_000 + b",train,good\n",
    "many-columns": b"path,split,label" + b",a" * 10_000 + b"\n",
    "twice": b"path,split,label,path\npictures/1.png,train,good,pictures/2.png\n",
    "above": b"path,split,label\n../../../etc/passwd,train,good\n",
    "absolute": b"path,split,label\n/dev/zero,train,good\n",
    "of-folder": b"path,split,label\npictures,train,good\n",
    "surrogate": "path,split,label\n\udc80.png,train,good\n".encode("utf-8", "surrogatepass"),
    "only-header": b"path,split,label\n",
    "carriage-returns": b"path,split,label\rpictures/1.png,train,good\rpictures/2.png,train,good\r",
}
