"""Images and trainings at the limits of numbers: a clear error, or finite scores."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from .case import Case, Expected, Material
from .commands import PREDICT, TRAIN, on
from .files import copy_data

Change = Callable[[Path], None]
I3AD = (
    *("train", "--method", "i3ad", "--data", "data", "--preset", "quick", "--image-size", "32"),
    *(
        "--width",
        "2",
        "--dilations",
        "2",
        "--discriminator-width",
        "2",
        "--discriminator-depth",
        "2",
    ),
    *("--context-width", "2", "--latent-size", "3", "--segmenter-width", "0", "--batch-size", "3"),
    *(
        "--steps",
        "6",
        "--iterations",
        "2",
        "--patches",
        "4",
        "--planted-images",
        "4",
        "--run",
        "out",
    ),
)


def cases() -> Iterator[Case]:
    """Cases of single images to score, of datasets to train on, and of trainings that diverge."""
    for name, picture in PICTURES.items():
        yield _case(f"predict-{name}", on(PREDICT), _only_test_image(picture), "accepted")
    for name, change in DATA.items():
        yield _case(f"train-{name}", TRAIN, change, "accepted")
    for name, options in DIVERGING.items():
        # Adam's steps have the size of the rate: what comes of it has to be finite, or said.
        yield _case(f"diverging-{name}", (*I3AD, *options), lambda data: None, "either")


def _case(name: str, command: tuple[str, ...], change: Change, expected: Expected) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        copy_data(folder, material)
        (folder / "run").symlink_to(material.run)
        change(folder / "data")

    return Case(f"numbers/{name}", command, expected, prepare=prepare)


def _flat(*colour: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    return Image.new("RGB", size, colour)


def _noise(size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 2, (size[1], size[0], 3)) * 255
    return Image.fromarray(pixels.astype(np.uint8))


def _one_pixel() -> Image.Image:
    picture = _flat(0, 0, 0)
    picture.putpixel((10, 10), (255, 255, 255))
    return picture


PICTURES: Mapping[str, Image.Image] = {
    "black": _flat(0, 0, 0),
    "white": _flat(255, 255, 255),
    "one-colour": _flat(10, 200, 30),
    "one-pixel": _one_pixel(),
    "noise": _noise((48, 40)),
    "1x1": _noise((1, 1)),
    "2x2": _noise((2, 2)),
    "1x5000": _noise((1, 5000)),
    "20000x20": _noise((20_000, 20)),
    "20x20000": _noise((20, 20_000)),
}


def _only_test_image(picture: Image.Image) -> Change:
    return lambda data: picture.save(data / "test/spot/0.png")


def _everywhere(picture: Image.Image) -> Change:
    def change(data: Path) -> None:
        for file in data.glob("t*/**/*.png"):
            picture.save(file)

    return change


def _identical(data: Path) -> None:
    for file in (data / "train/good").glob("*.png"):
        if file.name != "0.png":
            shutil.copy(data / "train/good/0.png", file)


def _masks(*pixels: tuple[int, int]) -> Change:
    """Masks with these pixels alone, or with all."""

    def change(data: Path) -> None:
        for file in (data / "ground_truth/spot").glob("*.png"):
            mask = Image.new("L", (48, 40), 0 if pixels else 255)
            for pixel in pixels:
                mask.putpixel(pixel, 255)
            mask.save(file)

    return change


def _sizes(data: Path) -> None:
    for number, size in enumerate(((1, 1), (2, 2), (3000, 2), (2, 3000), (64, 64))):
        _noise(size).save(data / f"train/good/{number}.png")


def _only_normal_tests(data: Path) -> None:
    shutil.rmtree(data / "test/spot")
    shutil.rmtree(data / "ground_truth")


def _no_tests(data: Path) -> None:
    _only_normal_tests(data)
    shutil.rmtree(data / "test")


DATA: Mapping[str, Change] = {
    "black": _everywhere(_flat(0, 0, 0)),
    "white": _everywhere(_flat(255, 255, 255)),
    "one-colour": _everywhere(_flat(7, 7, 7)),
    "identical": _identical,
    "mask-all": _masks(),
    "mask-one-pixel": _masks((0, 0)),
    "sizes": _sizes,
    "normal-tests-alone": _only_normal_tests,
    "no-tests": _no_tests,
    "defective-tests-alone": lambda data: shutil.rmtree(data / "test/good"),
}
DIVERGING = {
    "rates": ("--generator-learning-rate", "100", "--discriminator-learning-rate", "100"),
    "weights": ("--reconstruction-weight", "1e6", "--ssim-weight", "1e6"),
    "bfloat16": ("--dtype", "bfloat16", "--generator-learning-rate", "100"),
    "tiny": ("--generator-learning-rate", "1e-320", "--discriminator-learning-rate", "1e-320"),
    "beta": ("--adam-beta2", "0", "--adam-beta1", "0"),
}
