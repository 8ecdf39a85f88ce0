"""Checkpoints: damage, full disks and lost power."""

import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks.networks import build
from i3ad_jax import Detector
from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.methods.state import state_shapes
from i3ad_jax.runs.checkpoint import FILE_BYTES, Checkpoints
from i3ad_jax.runtime.disk import make_folder
from tests.conftest import Fails
from tests.support.json_files import edit
from tests.support.power_cut import Disk, content


@pytest.fixture
def run(pca_run: Path, tmp_path: Path) -> Path:
    """A finished run, to change."""
    return shutil.copytree(pca_run, tmp_path / "run")


@pytest.fixture
def short_files() -> Iterator[None]:
    """Lets files of this process end after some bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("short_files")
def test_a_checkpoint_on_a_full_disk_is_one_line(fails: Fails, tmp_path: Path) -> None:
    def save(_: object) -> None:
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            checkpoints.save(3, {"a": np.random.default_rng(0).random(9999)})

    message = f"error: {tmp_path}/checkpoints/3: cannot be written to (File too large)"
    assert fails(save, []).startswith(message)


def test_a_saved_checkpoint_is_there_after_a_cut_and_loads(disk: Disk, tmp_path: Path) -> None:
    state = {"a": np.random.default_rng(0).random(9999, np.float32)}
    make_folder(tmp_path / "run")
    with Checkpoints(tmp_path / "run/checkpoints") as checkpoints:
        checkpoints.save(3, state)
        kept = disk.kept
    assert kept == content(tmp_path)
    for name, own in kept.items():
        (tmp_path / "again" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "again" / name).write_bytes(own)
    with Checkpoints(tmp_path / "again/run/checkpoints") as checkpoints:
        np.testing.assert_array_equal(checkpoints.load(state)["a"], state["a"])


def large_shapes() -> dict[str, jax.ShapeDtypeStruct]:
    """An array larger than a file may be, and many smaller ones."""
    sizes = {"large": 2.2, "close": 0.9, **{f"small_{i}": 0.37 for i in range(5)}}
    return {
        name: jax.ShapeDtypeStruct((int(size * FILE_BYTES) // 4096, 1024), np.float32)
        for name, size in sizes.items()
    }


def paper_shapes() -> Any:
    return state_shapes(build(default_config("i3ad", preset="paper")))


@pytest.mark.parametrize(
    "shapes_of", [large_shapes, pytest.param(paper_shapes, marks=pytest.mark.slow)]
)
def test_a_checkpoint_travels_in_pieces_to_the_same_bits(
    shapes_of: Callable[[], Any], tmp_path: Path
) -> None:
    shapes, random = shapes_of(), np.random.default_rng(0)

    def fill(leaf: jax.ShapeDtypeStruct) -> np.ndarray:  # any bits, which cannot be compressed
        size = leaf.size * leaf.dtype.itemsize
        return np.frombuffer(random.bytes(size), leaf.dtype).reshape(leaf.shape)

    state = jax.tree.map(fill, shapes)
    with Checkpoints(tmp_path / "here") as checkpoints:
        checkpoints.save(3, state)
    pieces = [file for file in (tmp_path / "here").rglob("*") if file.is_file()]
    assert sum(piece.stat().st_size for piece in pieces) > 4 * 16 * 2**20
    assert max(piece.stat().st_size for piece in pieces) <= 16 * 2**20
    for piece in pieces:
        there = tmp_path / "there" / piece.relative_to(tmp_path / "here")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(piece.read_bytes())
    with Checkpoints(tmp_path / "there") as checkpoints:
        loaded = checkpoints.load(shapes)
    for own, other in zip(jax.tree.leaves(state), jax.tree.leaves(loaded), strict=True):
        assert own.tobytes() == np.asarray(other).tobytes()


def state_or_error(run: Path) -> Any:
    try:
        return Detector.load(run).state
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("method", ["pca", pytest.param("i3ad", marks=pytest.mark.slow)])
def test_weights_with_a_flipped_bit_are_refused_or_the_same(
    pca_run: Path, tiny_run: Path, tmp_path: Path, method: str
) -> None:
    finished = {"pca": pca_run, "i3ad": tiny_run}[method]
    newest = max((finished / "checkpoints").glob("[0-9]*"), key=lambda folder: int(folder.name))
    largest = max(newest.glob("**/d/*"), key=lambda file: file.stat().st_size)
    good, refused = largest.read_bytes(), 0
    expected = jax.tree.leaves(Detector.load(finished).state)
    for place in np.linspace(0, len(good) - 1, 6).astype(int):
        run = shutil.copytree(finished, tmp_path / str(place))
        file = run / largest.relative_to(finished)
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        found = state_or_error(run)
        if isinstance(found, str):
            assert str(run) in found
            refused += 1
        else:
            jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(found), expected)
    assert refused >= 3


def test_a_checkpoint_that_is_described_wrongly_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    for file in run.glob("checkpoints/*/_CHECKPOINT_METADATA"):
        file.write_text(file.read_text().replace('"commit_', '"commjt_'))
    assert f"{run / 'checkpoints'}: holds a damaged checkpoint" in str(state_or_error(run))


def truncate(checkpoint: Path) -> None:
    for file in checkpoint.rglob("*"):
        if file.is_file() and file.stat().st_size > 100:
            file.write_bytes(file.read_bytes()[:50])


def empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def without_sha256(checkpoint: Path) -> None:
    edit(checkpoint / "_CHECKPOINT_METADATA", lambda values: values["custom_metadata"].clear())


def with_another_sha256(checkpoint: Path) -> None:
    edit(
        checkpoint / "_CHECKPOINT_METADATA",
        lambda values: values["custom_metadata"].update(sha256="0" * 64),
    )


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        with_another_sha256,
        *(pytest.param(x, marks=pytest.mark.slow) for x in (empty, without_sha256)),
    ],
)
def test_deleting_a_damaged_checkpoint_is_advised_only_with_an_older_one(
    fails: Fails, run: Path, damage: Callable[[Path], None]
) -> None:
    state = Detector.load(run).state
    damage(run / "checkpoints/1")
    message = fails(evaluate.main, [run])
    assert f"{run / 'checkpoints/1'}: damaged checkpoint" in message
    assert "delete this" not in message
    shutil.rmtree(run / "checkpoints")
    with Checkpoints(run / "checkpoints") as checkpoints:
        checkpoints.save(1, state)
        checkpoints.save(2, state)
    damage(run / "checkpoints/2")
    message = fails(evaluate.main, [run])
    assert f"{run / 'checkpoints/2'}: damaged checkpoint" in message
    assert "delete this folder to use the one before it" in message
    shutil.rmtree(run / "checkpoints/2")
    evaluate.main([str(run)])
