"""Samples of a dataset."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from i3ad_jax.data.images import read_image
from i3ad_jax.data.samples import Sample, read_sample


def write_image(path: Path, *, seed: int, size: tuple[int, int] = (12, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def test_a_file_is_read_once(tmp_path):
    write_image(tmp_path / "a.png", seed=0)
    reads = []

    class Counted:
        def read_bytes(self) -> bytes:
            reads.append(1)
            return (tmp_path / "a.png").read_bytes()

    counted: Any = Counted()
    image, mask, image_hash, _ = read_sample(Sample("a.png", "good", counted))
    assert len(reads) == 1
    np.testing.assert_array_equal(image, read_image(tmp_path / "a.png"))
    assert (mask, image_hash) == (
        None,
        hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest(),
    )
