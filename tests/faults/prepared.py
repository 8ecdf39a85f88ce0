"""MVTec AD as TFDS prepares it: damaged archives, damaged records, and no room to prepare it in."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from .case import Case, Expected, Material, Prepare
from .commands import PACK, on
from .files import DAMAGE

MANUAL = Path("tfds/downloads/manual")
PREPARED = "tfds/mvtec_ad/bottle/1.0.0"
COMMAND = on(PACK, data="tfds:mvtec_ad/bottle")
RECORDS = (
    "mvtec_ad-train.array_record-00000-of-00001",
    "mvtec_ad-test.array_record-00000-of-00001",
)
# Which of them TFDS needs, or notices, is its own affair.
OTHERS = ("dataset_info.json", "features.json", "label.labels.txt", "LICENSE")
INSIDE = {
    "image-cut": ("train/good/1.png", "cut-50"),
    "image-text": ("test/spot/1.png", "text"),
    "mask-text": ("ground_truth/spot/1_mask.png", "text"),
}


def cases() -> Iterator[Case]:
    """Cases of a category that is packed, from its archive or as it was prepared once."""
    yield _archived("whole", "accepted")
    for damage, (_, expected) in DAMAGE.items():
        yield _archived(damage, expected)
    for name in INSIDE:
        yield _archived(name, "refused")
    yield _archived("name-not-utf-8", "refused")
    yield _archived("outside", "refused")
    for size in (1000, 5000, 66_000):
        yield _case(f"full-at-{size}", _folder, "refused", limits={"RLIMIT_FSIZE": size})
    for file in (*RECORDS, *OTHERS):
        for damage in DAMAGE:
            yield _spoiled(file, damage)


def _case(
    name: str, prepare: Prepare, expected: Expected, *, limits: dict[str, int] | None = None
) -> Case:
    return Case(
        f"prepared/{name}",
        COMMAND,
        expected,
        prepare=prepare,
        environment={"TFDS_DATA_DIR": "tfds"},
        limits=limits or {},
    )


def _folder(folder: Path, material: Material, rng: np.random.Generator) -> None:
    shutil.copytree(material.data, folder / MANUAL / "bottle")


def _archived(name: str, expected: Expected) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        shutil.copytree(material.data, folder / "bottle")
        inside, damage = INSIDE.get(name, (None, name))
        if inside is not None:
            DAMAGE[damage][0](folder / "bottle" / inside, rng)
        if name == "name-not-utf-8":
            shutil.copy(folder / "bottle/train/good/1.png", folder / "bottle/train/good/\udcff.png")
        (folder / MANUAL).mkdir(parents=True)
        archive = folder / MANUAL / "bottle.tar.xz"
        with tarfile.open(archive, "w:xz", preset=0) as tar:
            tar.add(folder / "bottle", "bottle")
            if name == "outside":
                tar.addfile(tarfile.TarInfo("bottle/../../evil"))
        if inside is None and damage in DAMAGE:
            DAMAGE[damage][0](archive, rng)

    return _case(f"archive/{name}", prepare, expected)


def _spoiled(file: str, damage: str) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        shutil.copytree(_prepared_once(material, rng), folder / "tfds")
        DAMAGE[damage][0](folder / PREPARED / file, rng)

    return _case(f"{file}/{damage}", prepare, "either")


def _prepared_once(material: Material, rng: np.random.Generator) -> Path:
    """The folder of TFDS that the first case which needs it makes for all."""
    root = material.data.parent / "prepared"
    with FileLock(f"{root}.lock"):
        if not root.exists():
            _folder(root, material, rng)
            environment = {**os.environ, "TFDS_DATA_DIR": "tfds"}
            command = [sys.executable, "-m", "i3ad_jax", *COMMAND]
            subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    return root / "tfds"
