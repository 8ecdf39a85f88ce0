"""Synthetic defects of the calibration: visible, varied, local, and alike at every resolution."""

import numpy as np
import pytest
import scipy.ndimage as ndi

from i3ad_jax.calibration import probes as module
from i3ad_jax.calibration.probes import KINDS, VISIBLE, probe, probes

SEEDS = range(25)


def texture(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Coloured noise on a ramp, 8 bits: a picture that every kind of defect changes."""
    noise = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 1)
    pattern = 0.7 * noise / noise.std() + np.linspace(-1, 1, width)
    return np.clip(120 + pattern[..., None] * [40, 35, 25], 0, 255).astype(np.uint8)


def most_change(changed: np.ndarray, pixels: np.ndarray) -> int:
    return int(np.abs(changed.astype(int) - pixels).max())


def covers(kind: str, side: int, *, number: int = 25) -> np.ndarray:
    picture = np.full((side, side, 3), 0.5)
    rngs = map(np.random.default_rng, range(number))
    return np.stack([KINDS[kind](rng, picture)[1] for rng in rngs])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_outside_the_cover(kind: str) -> None:
    picture = texture(32, 48) / 255
    before = picture.copy()
    for seed in SEEDS:
        changed, cover = KINDS[kind](np.random.default_rng(seed), picture)
        assert cover.shape == picture.shape[:2]
        assert cover.min() == 0
        assert 0.5 < cover.max() <= 1
        np.testing.assert_array_equal(changed[cover == 0], picture[cover == 0])
        assert np.isfinite(changed).all()
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("kind", KINDS)
def test_most_defects_of_every_kind_are_visible_at_once(kind: str) -> None:
    pixels = texture(64, 64)
    drawn = [KINDS[kind](np.random.default_rng(seed), pixels / 255)[0] for seed in SEEDS]
    assert np.mean([most_change(np.round(255 * each), pixels) > VISIBLE for each in drawn]) > 0.8


@pytest.mark.parametrize("kind", ["warp", "swap", "smear", "erase"])
def test_defects_of_structure_bring_no_new_intensity(kind: str) -> None:
    picture = texture(48, 64) / 255
    for seed in SEEDS:
        changed, _ = KINDS[kind](np.random.default_rng(seed), picture)
        assert (changed.min(axis=(0, 1)) > picture.min(axis=(0, 1)) - 1e-9).all()
        assert (changed.max(axis=(0, 1)) < picture.max(axis=(0, 1)) + 1e-9).all()


@pytest.mark.parametrize("kind", ["smear", "erase"])
def test_structure_is_lost(kind: str) -> None:
    picture = texture(64, 64) / 255
    inside = []
    for seed in SEEDS:
        changed, cover = KINDS[kind](np.random.default_rng(seed), picture)
        steps = [np.abs(np.diff(each, axis=0))[cover[1:] == 1].sum() for each in (changed, picture)]
        inside.append(steps)
    lost, had = np.sum(inside, axis=0)
    assert lost < 0.8 * had


def test_erased_structure_leaves_no_trace() -> None:
    picture = texture(64, 64) / 255
    for seed in SEEDS:
        changed, cover = KINDS["erase"](np.random.default_rng(seed), picture)
        covered = (cover > 0)[..., None]
        other, _ = KINDS["erase"](np.random.default_rng(seed), np.where(covered, 0.9, picture))
        np.testing.assert_allclose(other[cover == 1], changed[cover == 1], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 48), (256, 256), (8, 120)])
def test_every_probe_is_visible_at_every_size(kind: str, height: int, width: int) -> None:
    pixels = texture(height, width)
    before = pixels.copy()
    for seed in range(2 if height == 256 else 10):
        changed = probe(np.random.default_rng(seed), pixels, kind)
        assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)
        assert most_change(changed, pixels) > VISIBLE
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("tone", [0, 128, 255])
def test_every_probe_is_visible_on_even_pictures(tone: int) -> None:
    for side in (8, 32):
        pixels = np.full((side, side, 3), tone, np.uint8)
        for kind in KINDS:
            for seed in range(5):
                changed = probe(np.random.default_rng(seed), pixels, kind)
                assert most_change(changed, pixels) > VISIBLE, (kind, side, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_grey_pictures_stay_grey(kind: str) -> None:
    pixels = np.repeat(texture(40, 56)[..., :1], 3, axis=-1)
    for seed in SEEDS:
        changed = probe(np.random.default_rng(seed), pixels, kind)
        assert (np.ptp(changed, axis=-1) == 0).all()


def test_coloured_pictures_get_coloured_defects() -> None:
    pixels = np.full((32, 32, 3), [200, 100, 50], np.uint8)
    changes = [
        probe(np.random.default_rng(seed), pixels, "shade").astype(int) - pixels for seed in SEEDS
    ]
    assert np.ptp(changes, axis=-1).max() > 10


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_vary_over_an_order_of_magnitude(kind: str) -> None:
    areas = covers(kind, 192, number=60).mean(axis=(1, 2))
    assert areas.max() > 10 * areas.min()
    assert areas.max() < 0.4


# Thin lines and small spots are at least about a pixel wide: at 64 pixels they cover more.
@pytest.mark.parametrize(
    ("kind", "most"), [(kind, 4.0 if kind in ("crack", "specks") else 1.2) for kind in KINDS]
)
def test_a_defect_covers_the_same_part_at_every_resolution(kind: str, most: float) -> None:
    small, large = covers(kind, 64), covers(kind, 256)
    assert 0.8 < small.mean() / large.mean() < most
    # Blocks of 8 x 8: the same places, up to a pixel of the smaller.
    reached = [
        each.reshape(len(each), 8, size, 8, size).max(axis=(2, 4)) > 0.5
        for each, size in ((small, 8), (large, 32))
    ]
    assert (reached[0] == reached[1]).mean() > 0.95


def test_probes_are_decided_by_the_generator_alone() -> None:
    images = np.stack([texture(32, 32, seed=seed) for seed in range(3)])
    first, second = (probes(np.random.default_rng(5), images, 16) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    other, _ = probes(np.random.default_rng(6), images, 16)
    assert (other != first[0]).any()
    assert len({each.tobytes() for each in first[0]}) == 16


@pytest.mark.parametrize(("number", "count"), [(8, 32), (5, 12), (20, 7), (1, 9)])
def test_images_and_kinds_take_turns(
    number: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.stack([texture(32, 32, seed=seed) for seed in range(number)])
    kinds: list[str] = []

    def recorded(rng: np.random.Generator, pixels: np.ndarray, kind: str) -> np.ndarray:
        kinds.append(kind)
        return probe(rng, pixels, kind)

    monkeypatch.setattr(module, "probe", recorded)
    changed, chosen = probes(np.random.default_rng(1), images, count)
    assert changed.shape == (count, 32, 32, 3)
    assert np.ptp(np.bincount(chosen, minlength=number)) <= 1
    assert np.ptp([kinds.count(kind) for kind in KINDS]) <= 1
    # Each is a copy of its image, and an image does not get the same kind in every round.
    assert ((changed == images[chosen]).mean(axis=(1, 2, 3)) > 0.5).all()
    pairs = set(zip(chosen.tolist(), kinds, strict=True))
    assert len(pairs) > min(count, number * len(KINDS)) / 2
