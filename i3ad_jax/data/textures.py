"""The built-in data set: textured surfaces with synthetic defects.

It is computed when needed and always the same. It needs no download. `weave` and `mesh` are drawn
by formula; `brick` is cut from the photograph of a brick wall that scikit-image ships. Training
images and normal test images are alike; each anomalous test image has one defect of
`i3ad_jax.data.defects`. An image of twice the side shows the same scene at twice the resolution:
lengths are in units of 1/64 of the side. Scenes are square; another size stretches them.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from skimage import data as photographs

from i3ad_jax.data.dataset import NORMAL, Dataset, Split, content_hash
from i3ad_jax.data.defects import DEFECTS, UNITS, Picture, Plane, pixel_centres
from i3ad_jax.data.images import Size, preprocess, preprocess_mask
from i3ad_jax.errors import InputError

NUM_TRAIN = 200
NUM_TEST_NORMAL = 40
NUM_TEST_PER_DEFECT = 12

NOISE = 0.012
"""Standard deviation of the sensor noise, for values in [0, 1]."""

_PITCH = 8.0  # Distance between threads, or between holes, in units.

Draw = Callable[[np.random.Generator, int], Picture]


def make_textures(kind: str, *, size: Size) -> Dataset:
    """The data set `textures:KIND`: 200 normal images to train on; 40 normal, 72 anomalous to test.

    Args:
        kind: one of `TEXTURES`.
        size: of the images; they are drawn as squares of its longer side.

    Raises:
        InputError: there is no such kind.
    """
    if kind not in TEXTURES:
        known = ", ".join(f"textures:{name}" for name in TEXTURES)
        raise InputError(f"--data textures:{kind}: no such texture; use one of {known}")
    anomalous = [defect for defect in DEFECTS for _ in range(NUM_TEST_PER_DEFECT)]
    return Dataset(
        name=f"textures:{kind}",
        train=_make_split(kind, "train", [NORMAL] * NUM_TRAIN, size=size),
        test=_make_split(kind, "test", [NORMAL] * NUM_TEST_NORMAL + anomalous, size=size),
    )


def _make_split(
    kind: str, part: Literal["train", "test"], defects: list[str], *, size: Size
) -> Split:
    """One image per entry of `defects`, in that order; the seeds follow from `kind` and `part`."""
    draw = TEXTURES[kind][part]
    seeds = np.random.SeedSequence(list(f"{kind}/{part}".encode())).spawn(len(defects))
    side = max(size)
    pairs = [_photograph(s, draw, d, image_size=side) for s, d in zip(seeds, defects, strict=True)]
    images = [preprocess(Image.fromarray(image), size=size, aspect="stretch") for image, _ in pairs]
    masks = [preprocess_mask(mask, size=size, aspect="stretch") for _, mask in pairs]
    return Split(
        images=np.stack(images),
        paths=tuple(f"{part}/{d}/{defects[:i].count(d):03d}.png" for i, d in enumerate(defects)),
        defects=tuple(defects),
        masks=np.stack(masks),
        annotated=np.ones(len(defects), bool),
        hashes=tuple(content_hash(image.tobytes()) for image in images),
        original_sizes=((side, side),) * len(defects),
    )


def _photograph(
    seed: np.random.SeedSequence, draw: Draw, defect: str, *, image_size: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """One picture of a surface, with its defect if it has one, and the defect's mask.

    Light and noise come after the defect, as in a camera: a defect cannot be recognised by missing
    noise.
    """
    scene_rng, defect_rng, noise_rng = (np.random.default_rng(s) for s in seed.spawn(3))
    image = draw(scene_rng, image_size)
    light = _light(scene_rng, image_size)
    mask = np.zeros(image.shape[:2], bool)
    if defect != NORMAL:
        image, mask = DEFECTS[defect](defect_rng, image)
    image = light[..., None] * image + noise_rng.normal(0.0, NOISE, image.shape)
    return np.round(255 * np.clip(image, 0.0, 1.0)).astype(np.uint8), mask


def _light(rng: np.random.Generator, image_size: int) -> Plane:
    """A gain per pixel: a random level and a smooth gradient in a random direction."""
    x, y = pixel_centres(image_size)
    angle = rng.uniform(0, 2 * np.pi)
    towards = np.cos(angle) * (x / UNITS - 0.5) + np.sin(angle) * (y / UNITS - 0.5)
    return rng.uniform(0.88, 1.08) * (1 + rng.uniform(0.0, 0.3) * towards)


def _lattice(rng: np.random.Generator, image_size: int) -> tuple[Plane, Plane]:
    """Return coordinates on a randomly placed, slightly turned and warped surface, in pitches."""
    x, y = pixel_centres(image_size)
    angle = np.deg2rad(rng.uniform(-2.0, 2.0))
    shift = rng.uniform(0, 16, 2)
    u = (np.cos(angle) * x + np.sin(angle) * y) / _PITCH + shift[0]
    v = (np.cos(angle) * y - np.sin(angle) * x) / _PITCH + shift[1]
    swing = rng.uniform(0.0, 0.08, 2)
    phase = rng.uniform(0, 2 * np.pi, 2)
    wave = 2 * np.pi / UNITS
    return u + swing[0] * np.sin(wave * y + phase[0]), v + swing[1] * np.sin(wave * x + phase[1])


def _draw_weave(rng: np.random.Generator, image_size: int) -> Picture:
    """Plain-woven cloth: threads along y (warp) and x (weft) pass over and under each other."""
    u, v = _lattice(rng, image_size)
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    over = np.where((column + row) % 2 == 0, 1.0, -1.0)
    # A thread is round across (the first term) and swings up and down along itself (the second).
    crossing_u, crossing_v = np.cos(np.pi * (u - column - 0.5)), np.cos(np.pi * (v - row - 0.5))
    warp_height = crossing_u + 0.8 * over * crossing_v
    weft_height = crossing_v - 0.8 * over * crossing_u
    warp_on_top = 1 / (1 + np.exp(-8 * (warp_height - weft_height)))

    # Fibres are twisted into a thread: fine slanted lines, and no two threads are equally bright.
    warp_tone, weft_tone = rng.uniform(0.94, 1.06, (2, 64))
    warp_shade = warp_tone[column % 64] * (1 + 0.08 * np.cos(2 * np.pi * (2 * v + u)))
    weft_shade = weft_tone[row % 64] * (1 + 0.08 * np.cos(2 * np.pi * (2 * u - v)))
    height = 0.35 + 0.36 * np.maximum(warp_height, weft_height)
    warp = (height * warp_shade)[..., None] * np.array([0.86, 0.76, 0.60])
    weft = (height * weft_shade)[..., None] * np.array([0.66, 0.68, 0.70])
    return weft + warp_on_top[..., None] * (warp - weft)


def _draw_mesh(rng: np.random.Generator, image_size: int) -> Picture:
    """A brushed metal sheet with round holes on a hexagonal lattice."""
    u, v = _lattice(rng, image_size)
    # The lattice is two interleaved rectangular ones; the nearest hole is the nearer of two.
    rows = v / np.sqrt(3)
    dx = np.stack([u - np.round(u), u - np.floor(u) - 0.5])
    dy = np.stack([rows - np.round(rows), rows - np.floor(rows) - 0.5]) * np.sqrt(3)
    nearest = np.argmin(np.hypot(dx, dy), axis=0)[None]
    dx, dy = (np.take_along_axis(d, nearest, axis=0)[0] for d in (dx, dy))
    distance = np.hypot(dx, dy)

    sheet = 0.62 * np.interp(v * _PITCH, np.arange(64), rng.uniform(0.95, 1.05, 64), period=64)
    # The punch leaves a rounded rim, bright towards the light at the upper left.
    rim = np.exp(-(((distance - 0.37) / 0.08) ** 2))
    sheet = sheet - 0.22 * rim * (dx + dy) / np.maximum(distance, 0.1)
    below = 0.09 + 0.1 * np.clip(dx + dy + 0.1, 0, 1)
    in_hole = np.clip((0.33 - distance) * _PITCH + 0.5, 0, 1)
    return (sheet + in_hole * (below - sheet))[..., None] * np.array([0.98, 1.0, 1.03])


@cache
def brick_wall() -> UInt8[np.ndarray, "512 512"]:
    """The photograph, read once: it comes from a file inside scikit-image, without a download."""
    return photographs.brick()


def _draw_brick(rng: np.random.Generator, image_size: int, *, first_column: int) -> Picture:
    """A square crop of the grey photograph of bricks, from the half that starts at this column."""
    half = Image.fromarray(brick_wall()[:, first_column : first_column + 256])
    side = rng.uniform(144, 176)
    left, top = rng.uniform(0, 1, 2) * (half.width - side, half.height - side)
    crop = half.resize(
        (image_size, image_size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
    )
    if rng.random() < 0.5:  # Joints lean to the left in one half and to the right in the other.
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.repeat(np.asarray(crop)[..., None] / 255, 3, axis=2)


TEXTURES: dict[str, dict[Literal["train", "test"], Draw]] = {
    "weave": {"train": _draw_weave, "test": _draw_weave},
    "mesh": {"train": _draw_mesh, "test": _draw_mesh},
    "brick": {
        "train": partial(_draw_brick, first_column=0),
        "test": partial(_draw_brick, first_column=256),
    },
}
"""Functions of each kind that draw a training and a test surface, in [0, 1].

Training and test crops of the brick wall come from its left and its right half: they share no
pixel.
"""
