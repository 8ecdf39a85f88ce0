"""Material of the cases: a small data set, a finished run on it, and its scores."""

import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from i3ad_jax.__main__ import COMMANDS

from .case import OUT, SCORES, TESTED, Material
from .commands import PREDICT, TRAIN, on
from .meaning import meaning


def make_material(folder: Path) -> Material:
    """Makes it in `folder`, by processes: this one must not use JAX, since it will be forked."""
    set_environment(folder)
    data = folder / "data"
    write_data(data)
    for command in (on(TRAIN, out="run"), PREDICT):
        subprocess.run(
            [sys.executable, "-m", "i3ad_jax", *command],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    usual = {SCORES: meaning(folder / OUT), TESTED: meaning(folder / "run")}
    return Material(data, folder / "run", {name: each for name, each in usual.items() if each})


def set_environment(folder: Path) -> None:
    """Has commands use one CPU device, compile lightly, and each program once, into `folder`."""
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR")
        or str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_NUM_CPU_DEVICES": "1",
        # exported programs name the lines that called for them
        "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0",
    }


def write_data(root: Path) -> None:
    """Write a dataset in MVTec layout: 8 training images, 3 normal and 3 defective ones."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 127, 40)[:, None, None] * np.ones((40, 48, 3))
    for split, count in (("train/good", 8), ("test/good", 3), ("test/spot", 3)):
        folder = root / split
        folder.mkdir(parents=True)
        for number in range(count):
            picture = ramp + rng.uniform(0, 40, ramp.shape)
            if split == "test/spot":
                mask = np.zeros((40, 48), np.uint8)
                mask[10:20, 10 + number : 25] = 255
                picture[mask > 0] = 255
                (root / "ground_truth/spot").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(root / f"ground_truth/spot/{number}_mask.png")
            Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")


def warm_up() -> None:
    """Imports all that commands import, without using JAX."""
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    modules = [f"i3ad_jax.{command}" for command in COMMANDS]
    for name in (*modules, "i3ad_jax.serve.app", "i3ad_jax.data.mvtec_ad", "sklearn.decomposition"):
        importlib.import_module(name)
