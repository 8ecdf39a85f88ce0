"""Distance of images from the normal ones, measured on thumbnails."""

import shutil
from pathlib import Path

import numpy as np

from i3ad_jax.check.likeness import thumbnail_scores
from i3ad_jax.check.records import read_records


def test_defective_images_are_further_away_than_normal_ones(tiny_folder: Path) -> None:
    scores, defects = thumbnail_scores(read_records(tiny_folder))
    classes = np.array(defects)
    # Every fifth of 8 training images, 3 normal test images and 3 defective ones.
    assert sorted(defects) == ["good"] * 5 + ["spot"] * 3
    assert scores[classes == "spot"].min() > scores[classes == "good"].max()


def test_a_training_image_is_at_the_distance_of_its_residual(tiny_folder: Path) -> None:
    """Against the residual of a least-squares fit by the centred training images."""
    records = read_records(tiny_folder)
    grey = np.stack([p.thumbnail.mean(axis=2).ravel() for _, p in records.readable("train")])
    held_out, known = grey[::5], np.delete(grey, np.arange(0, len(grey), 5), axis=0)
    mean = known.mean(axis=0)
    basis = (known - mean).T
    fitted, *_ = np.linalg.lstsq(basis, (held_out - mean).T, rcond=1e-6)
    expected = np.linalg.norm((held_out - mean).T - basis @ fitted, axis=0)
    scores, _ = thumbnail_scores(records)
    np.testing.assert_allclose(scores[: len(held_out)], expected, rtol=1e-4)


def test_too_few_images_have_no_scores(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "train/good"
    folder.mkdir(parents=True)
    shutil.copy(tiny_folder / "train/good/0.png", folder)
    scores, defects = thumbnail_scores(read_records(tmp_path))
    assert (len(scores), defects) == (0, [])
