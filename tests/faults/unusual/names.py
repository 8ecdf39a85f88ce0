"""Names of files, classes and folders, and ways to write a path."""

import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.faults.case import Case, Expected, Material
from tests.faults.commands import PREDICT, on
from tests.faults.mounts import may_mount, mount, own_namespace
from tests.faults.usual import SOURCE

from .folders import copied
from .made import PACK_BY_PCA, packed

_NAMES = (
    unicodedata.normalize("NFC", "\u00e4\u00f6"),
    unicodedata.normalize("NFD", "\u00e4\u00f6"),
    *("\U0001f600", "\u6b63\u5e38", "\u0645\u062b\u0627\u0644", "\u2028", "\u200d", "\ufeffx"),
    *("a b", " a", "a ", "-a", "--out", "%20", "%s", "a'b", 'a"b', "a`b", "$(ls)", "a;b", "a|b"),
    *(
        "a\\b",
        "a*b",
        "a?",
        "[1]",
        "{x}",
        "~",
        "a..b",
        "#1",
        "a:b",
        "a,b",
        "=1+1",
        "@x",
        "1e5",
        "NUL",
    ),
    *("x" * 200, "a\tb", "<b>", "s3:a", "good", "a_mask"),
)
_NORMAL = ("OK", "ok", "Ok", "Good", "GOOD", "normal", "Normal", "NORMAL", "pass", "PASS", "passed")
_NORMAL = (*_NORMAL, "0")
_GIVEN = ("fine", "gut", "sound parts", "OK_parts", "\u6b63\u5e38", "Fine")
# Of a folder; those that are relative hold where the work folder is the current one.
_WAYS = {
    "dot": "./{}",
    "slash": "{}/",
    "slashes": ".//{}//",
    "dot-at-end": "{}/.",
    "up-and-down": "{}/../{}",
    "absolute": "/proc/self/cwd/{}",
    "link": "link-to-{}",
    "link-slash": "link-to-{}/",
    "chain": "chain-to-{}",
}
_FOLDERS = (
    *("with space", "\u00e4\U0001f600", "a'b", "50%", "[1]", "data.csv", "a:b", "tfds:x", "tfds"),
    *("textures", "textures:weave", "~", "$HOME", "train", "x.png", "-x"),
)


def cases() -> Iterator[Case]:
    """Cases of a data set that is packed, and of a picture that is scored."""
    for name in _NORMAL:
        yield packed(f"names/test-{name}", _renamed("test/good", name))
        yield packed(f"names/train-{name}", _renamed("train/good", name))
    for name in _GIVEN:
        yield packed(
            f"names/test-given-{name}", _renamed("test/good", name),
            options=("--normal-class", name),
        )  # fmt: skip
    for number, name in enumerate(_NAMES):
        called = "x-200" if len(name) > 99 else ascii(name)[1:-1]
        own = f"names/{number}-{called.replace('/', '')}"
        yield packed(f"{own}/pack", _images(name))
        yield _scored(f"{own}/folder", "shots", f"shots/{name}.png")
        given = f"./{name}.png" if name.startswith("-") else f"{name}.png"
        yield _scored(f"{own}/path", given, f"{name}.png")
    yield from _ways()
    yield from _named_folders()
    yield from _read_only()


def _renamed(folder: str, name: str) -> Callable[[Path], object]:
    return lambda data: (data / folder).rename((data / folder).with_name(name))


def _images(name: str) -> Callable[[Path], object]:
    """Return the change of the name of a training image, of a test image and of its mask."""

    def change(data: Path) -> None:
        (data / "train/good/1.png").rename(data / f"train/good/{name}.png")
        (data / "test/spot/1.png").rename(data / f"test/spot/{name}.png")
        masks = data / "ground_truth/spot"
        (masks / "1_mask.png").rename(masks / f"{name}_mask.png")

    return change


def _scored(name: str, given: str, file: str) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        (folder / "run").symlink_to(material.run)
        (folder / file).parent.mkdir(exist_ok=True)
        shutil.copy(material.data / "test/spot/0.png", folder / file)

    return Case(f"unusual/{name}", on(PREDICT, **{SOURCE: given}), "equal", prepare=prepare)


def _prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
    copied(folder, material)
    for name in ("data", "run"):
        (folder / f"link-to-{name}").symlink_to(name)
        (folder / f"chain-to-{name}").symlink_to(f"link-to-{name}")
    (folder / "elsewhere/deep").mkdir(parents=True)
    (folder / "out").symlink_to("elsewhere/out")


def _ways() -> Iterator[Case]:
    for name, way in _WAYS.items():
        data, run = (way.replace("{}", each) for each in ("data", "run"))
        places = {
            "data": on(PACK_BY_PCA, data=data, out="elsewhere/out"),
            "run": on(PREDICT, run=run, out="elsewhere/out"),
            "image": on(PREDICT, **{SOURCE: f"{data}/test/spot/0.png", "out": "elsewhere/out"}),
            "out": on(PREDICT, out="./elsewhere/../elsewhere//out/"),
        }
        for place, command in places.items():
            if place != "out" or name == "dot":
                usual = "packed" if place == "data" else "scores"
                case = Case(f"unusual/paths/{name}/{place}", command, "equal", prepare=_prepare)
                yield replace(case, usual=usual)
    for directory, up in (("elsewhere", ".."), ("elsewhere/deep", "../..")):
        of_data = {"data": f"{up}/data", "out": f"{up}/elsewhere/out"}
        of_run = {"run": f"{up}/run", "out": f"{up}/elsewhere/out"}
        image = {SOURCE: f"{up}/data/test/spot/0.png"}
        for usual, command in (
            ("packed", on(PACK_BY_PCA, **of_data)),
            ("scores", on(PREDICT, **of_run, **image)),
        ):
            yield Case(
                f"unusual/paths/{directory}/{usual}", command, "equal",
                prepare=_prepare, usual=usual, directory=directory,
            )  # fmt: skip


def _named_folders() -> Iterator[Case]:
    for name in _FOLDERS:
        built_in = name.partition(":")[0] in ("textures", "tfds")

        def prepare(
            folder: Path, material: Material, rng: np.random.Generator, name: str = name
        ) -> None:
            shutil.copytree(material.data, folder / name)

        for way, given in (("bare", name), ("dot", f"./{name}/")):
            if way == ("bare" if name.startswith("-") else "" if built_in else "dot"):
                continue
            expected: Expected = "same" if built_in and way == "bare" else "equal"
            yield Case(
                f"unusual/paths/data-called-{ascii(name)[1:-1]}/{way}", on(PACK_BY_PCA, data=given),
                expected, prepare=prepare, usual="packed",
            )  # fmt: skip

        def with_run(
            folder: Path, material: Material, rng: np.random.Generator, name: str = name
        ) -> None:
            (folder / "data").symlink_to(material.data)
            shutil.copytree(material.run, folder / name)

        yield Case(
            f"unusual/paths/run-called-{ascii(name)[1:-1]}", on(PREDICT, run=f"./{name}"),
            "equal", prepare=with_run,
        )  # fmt: skip


def _read_only() -> Iterator[Case]:
    if not may_mount():
        return

    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        own_namespace()
        (folder / "fixed").mkdir()
        mount(folder / "fixed", "size=20m")
        shutil.copytree(material.data, folder / "fixed/data")
        shutil.copytree(material.run, folder / "fixed/run")
        mount(folder / "fixed", "remount,ro")

    image = {SOURCE: "fixed/data/test/spot/0.png"}
    for usual, command in (
        ("packed", on(PACK_BY_PCA, data="fixed/data")),
        ("scores", on(PREDICT, run="fixed/run", **image)),
    ):
        yield Case(
            f"unusual/paths/read-only/{usual}", command, "equal", prepare=prepare, usual=usual
        )
