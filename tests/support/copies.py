"""Copies of an image that a user may not notice."""

import io

import numpy as np
from PIL import Image, ImageEnhance


def as_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=50)
    return Image.open(file).convert("RGB")


def darker(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(0.85)


def smaller(picture: Image.Image) -> Image.Image:
    return picture.resize(
        (picture.width * 4 // 5, picture.height * 4 // 5), Image.Resampling.BICUBIC
    )


def more_contrast(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(picture).enhance(1.2)


def noisier(picture: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 5, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


COPIES = (as_jpeg, darker, smaller, more_contrast, noisier)
