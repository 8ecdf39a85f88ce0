"""Scoring of images far larger than the training images on an ordinary computer."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from i3ad_jax import Detector
from i3ad_jax.data.textures import make_textures

pytestmark = pytest.mark.slow
LIMIT = 2 * 2**30  # bytes

# The peak is by /proc: getrusage's is that of the process that started this one where it was
# larger.
SCORE = """
import sys
from pathlib import Path

import numpy as np

from i3ad_jax import Detector

detector = Detector.load(sys.argv[1])
assert detector.preprocessing.size == (3000, 4000)
(found,) = detector.score(np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8))
assert found.small_maps["combined"].shape == (3000, 4000)
assert np.isfinite(found.anomaly_map(score="combined")).all()
lines = Path("/proc/self/status").read_text().splitlines()
(peak,) = [line for line in lines if line.startswith("VmHWM:")]
print(1024 * int(peak.split()[1]))
"""


def weave(count: int) -> list[Image.Image]:
    return [
        Image.fromarray(image)
        for image in make_textures("weave", size=(96, 128)).train.images[:count]
    ]


def test_images_of_many_tiles_are_read_as_they_are_scored() -> None:
    pictures = weave(6)
    detector = Detector.fit(
        pictures, method="pca", components=8, view="tiles", tile=32, resolution=64, queue_size=4
    )
    assert len(detector.preprocessing.tiling.corners) > 4
    source = iter(pictures)
    next(detector.stream(source))
    assert len(list(source)) == 4  # besides the image that is scored and the one read meanwhile


def test_image_of_12_megapixels_is_scored_within_2_gib(tmp_path: Path) -> None:
    detector = Detector.fit(
        weave(4),
        method="pca",
        components=8,
        view="tiles",
        resolution=3464,
        pooling="peak",
        planted_images=2,
    )
    detector.save(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < LIMIT
