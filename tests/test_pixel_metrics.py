"""Pixel metrics read in blocks, against the same of whole arrays."""

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from i3ad_jax.data.stored import StoredArray
from i3ad_jax.scoring import pixel_metrics as blocks
from i3ad_jax.scoring.metrics import pixel_aupro, pixel_auroc
from i3ad_jax.scoring.pixel_metrics import pixel_metrics
from tests.support.metric_cases import aupro_by_thresholds, close, random_case


class CountedRows(StoredArray):
    """An array in a file; counts the pixels of each read."""

    reads: ClassVar[list[int]] = []

    def __getitem__(self, index):
        rows = super().__getitem__(index)
        self.reads.append(rows.size)
        return rows


def counted(array):
    """The array in a file; what was read so far is forgotten."""
    CountedRows.reads.clear()
    stored = CountedRows.in_temporary_file(array.shape, array.dtype)
    if len(array):
        stored[:] = array
    return stored


def measured(masks, maps, subsets, *, pixels_at_once, defective_at_once, max_fpr):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "PIXELS_AT_ONCE", pixels_at_once)
        patch.setattr(blocks, "DEFECTIVE_AT_ONCE", defective_at_once)
        return pixel_metrics(masks, maps, subsets, max_fpr=max_fpr)


@st.composite
def cases(draw):
    """Draw masks, maps and subsets: of one class alone, constant, with and without ties."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4)))
    share = draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))
    masks = np.random.default_rng(draw(st.integers(0, 99))).random(shape) < share
    levels = st.one_of(
        st.floats(-2, 2, width=32),
        st.sampled_from([-1.0, -0.0, 0.0, 0.5]),
        st.just(3.0),
    )
    element = draw(st.sampled_from([levels, st.sampled_from([0.0, 1.0]), st.just(1.0)]))
    maps = draw(arrays(np.float32, shape, elements=element))
    subsets = draw(arrays(bool, (draw(st.integers(1, 3)), len(masks))))
    return masks, maps, subsets


@given(cases(), st.integers(1, 100), st.integers(1, 20), st.sampled_from([0.05, 0.3, 1.0]))
def test_any_blocks_of_any_images_give_what_whole_arrays_do(
    case, pixels_at_once, defective_at_once, max_fpr
):
    masks, maps, subsets = case
    blocked = measured(
        counted(masks),
        counted(maps),
        subsets,
        pixels_at_once=pixels_at_once,
        defective_at_once=defective_at_once,
        max_fpr=max_fpr,
    )
    for subset, (auroc, aupro) in zip(subsets, blocked, strict=True):
        own, scores = masks[subset], maps[subset]
        if own.all() or not own.any():
            assert (auroc, aupro) == (None, None)
        else:
            assert auroc == close(roc_auc_score(own.ravel(), scores.ravel()))
            assert aupro == close(aupro_by_thresholds(own, scores, max_fpr))


@given(cases(), st.integers(1, 100), st.sampled_from([1, 7, 2**22]))
def test_the_size_of_blocks_changes_no_bit(case, pixels_at_once, defective_at_once):
    whole, blocked = (
        measured(*case, pixels_at_once=size, defective_at_once=defective_at_once, max_fpr=0.3)
        for size in (2**24, pixels_at_once)
    )
    assert blocked == whole


def test_reads_fit_in_a_block_and_images_outside_all_subsets_are_not_read():
    masks, maps = random_case(7, shape=(40, 9, 11))
    maps[0] = np.nan  # would be refused
    stored = counted(masks), counted(maps)
    subsets = np.arange(40) > np.array([[0], [9]])
    one, other = measured(*stored, subsets, pixels_at_once=300, defective_at_once=50, max_fpr=0.3)
    assert one.auroc == close(pixel_auroc(masks[1:], maps[1:]))
    assert one.aupro == close(pixel_aupro(masks[1:], maps[1:]))
    assert other.auroc == close(pixel_auroc(masks[10:], maps[10:]))
    assert max(CountedRows.reads) <= 300


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused_in_every_block(bad):
    for image in range(3):
        masks, maps = random_case(0)
        maps[image, 4, 4] = bad
        with pytest.raises(ValueError, match="finite"):
            measured(
                masks,
                maps,
                np.ones((1, 3), bool),
                pixels_at_once=1,
                defective_at_once=1,
                max_fpr=0.3,
            )
