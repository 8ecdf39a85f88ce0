"""The built-in cloth as files, and settings whose cost is estimated quickly."""

from pathlib import Path
from typing import Any

from PIL import Image

from i3ad_jax.config import DEFAULT_PRESET, Config, default_config
from i3ad_jax.data.dataset import NORMAL
from i3ad_jax.data.textures import make_textures

SIZE = (72, 96)


def write_cloth(root: Path) -> None:
    """Write images in MVTec layout: 40 to train on, 12 normal ones and 3 of each defect to test."""
    dataset = make_textures("weave", size=SIZE)
    for split, counts in ((dataset.train, {NORMAL: 40}), (dataset.test, {NORMAL: 12})):
        for path, defect, image, mask in zip(
            split.paths, split.defects, split.images, split.masks, strict=True
        ):
            if int(Path(path).stem) >= counts.get(defect, 3):
                continue
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / path)
            if defect != NORMAL:
                file = root / "ground_truth" / defect / f"{Path(path).stem}_mask.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(file)


def small_config(method: str, *, preset: str = DEFAULT_PRESET) -> Config[Any, Any]:
    """Return a preset's steps with one small network, whose operations are counted quickly."""
    sizes = {"generator": "context", "width": 2, "discriminator_depth": 2, "segmenter_width": 0}
    steps = default_config(method, preset=preset).training.steps
    return default_config(method).with_settings({**sizes, "steps": steps})
