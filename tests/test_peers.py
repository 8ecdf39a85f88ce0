"""The peers on tiny images: code written here against independent code, others' by their own."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity
from skimage.transform import resize

pytest.importorskip("torch", reason="pip install -e '.[test-all]'")
import torch

from benchmarks.peers import __main__ as command
from benchmarks.peers import riad
from benchmarks.peers.installation import installed_bytes, is_installed
from benchmarks.peers.peer import PEERS, Peer, check_peers
from benchmarks.processes import clean_environment, cost_of
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.load import load_dataset
from i3ad_jax.errors import InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Two RGB images of 32 x 32 and two that resemble them: `2 2 h w 3`, float32 in [0, 1]."""
    rng = np.random.default_rng(0)
    first = ndimage.gaussian_filter(rng.uniform(size=(2, 32, 32, 3)), (0, 1, 1, 0))
    second = np.clip(first + rng.normal(0, 0.05, first.shape), 0, 1)
    return np.stack([first, second]).astype(np.float32)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A U-Net that is quick."""
    monkeypatch.setattr(riad, "WIDTHS", (8, 8, 8, 16, 16))


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


@pytest.mark.parametrize("cell", riad.CELLS)
def test_masks_of_riad_partition_the_image(cell: int) -> None:
    masks = riad.disjoint_masks(torch.zeros(1, 3, 32, 64), cell, torch.Generator().manual_seed(0))
    assert masks.shape == (riad.SETS, 1, 32, 64)
    assert (masks.sum(dim=0) == 1).all()
    cells = masks.unfold(2, cell, cell).unfold(3, cell, cell)
    assert (cells.amax(dim=(4, 5)) == cells.amin(dim=(4, 5))).all()
    sizes = masks.sum(dim=(1, 2, 3)) / cell**2
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.usefixtures("narrow")
def test_network_of_riad_sees_no_pixel_that_it_fills_in(pictures: np.ndarray) -> None:
    torch.manual_seed(0)
    network, x = riad.UNet().eval(), tensor(pictures[0])
    masks = riad.disjoint_masks(x, 8, torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = riad.reconstruct(network, x, masks)
        after = riad.reconstruct(network, torch.where(masks[0] > 0, 1 - x, x), masks)
    hidden = masks[0].expand_as(x) > 0
    assert torch.equal(before[hidden], after[hidden])
    assert not torch.equal(before[~hidden], after[~hidden])


def test_msgms_is_that_of_scipy_and_scikit_image(pictures: np.ndarray) -> None:
    def magnitude(x: np.ndarray) -> np.ndarray:
        gradients = [ndimage.prewitt(x, axis=axis, mode="nearest") / 3 for axis in (0, 1)]
        return np.hypot(*gradients)

    def similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        found = []
        for scale in (1, 2, 4, 8):
            a, b = (
                magnitude(
                    image.mean(axis=-1).reshape(32 // scale, scale, 32 // scale, scale).mean((1, 3))
                )
                for image in (x, y)
            )
            own = (2 * a * b + 0.0026) / (a**2 + b**2 + 0.0026)
            found.append(resize(own, (32, 32), order=1, mode="edge", anti_aliasing=False))
        return np.mean(found, axis=0)

    expected = np.stack(
        [similarity(x, y) for x, y in zip(*pictures.astype(np.float64), strict=True)]
    )
    assert expected.min() < 0.9
    np.testing.assert_allclose(riad.msgms(*map(tensor, pictures)).numpy(), expected, atol=1e-4)


def test_ssim_of_riad_is_that_of_scikit_image(pictures: np.ndarray) -> None:
    ours = riad.ssim(*map(tensor, pictures)).numpy()
    for x, y, own in zip(*pictures, ours, strict=True):
        wang = {
            "gaussian_weights": True,
            "sigma": 1.5,
            "use_sample_covariance": False,
            "data_range": 1.0,
        }
        found: Any = structural_similarity(x, y, channel_axis=-1, full=True, **wang)
        whole = found[1]
        np.testing.assert_allclose(own, np.moveaxis(whole[5:-5, 5:-5], -1, 0), atol=1e-4)


@pytest.mark.usefixtures("narrow")
def test_training_of_riad_lowers_its_loss(pictures: np.ndarray) -> None:
    torch.manual_seed(0)
    network, x = riad.UNet(), tensor(pictures[0])
    adam = torch.optim.Adam(network.parameters(), lr=riad.LEARNING_RATE)
    losses = [
        riad.training_step(network, adam, x, torch.Generator().manual_seed(seed))
        for seed in (0, 1, 2, 3, 0)
    ]
    assert losses[-1] < losses[0]


@pytest.mark.usefixtures("narrow")
def test_riad_scores_alike_in_every_batch_and_saves(pictures: np.ndarray, tmp_path: Path) -> None:
    fitted = riad.fit(pictures[0], seed=0, seconds=0)  # one step
    together, alone = fitted.score(pictures[0]), fitted.score(pictures[0][1:])
    assert together.maps is not None
    assert alone.maps is not None
    assert together.maps.shape == (2, 32, 32)
    np.testing.assert_allclose(together.maps[1], alone.maps[0], atol=1e-5)
    np.testing.assert_array_equal(together.images, together.maps.max(axis=(1, 2)))
    fitted.save(tmp_path)
    assert torch.load(tmp_path / "model.pt").keys() == fitted.network.state_dict().keys()


needs_pyod = pytest.mark.skipif(not is_installed("pyod"), reason="pip install -e '.[peers]'")


@pytest.mark.parametrize(
    "name",
    [
        *("sklearn_pca", "sklearn_one_class_svm"),
        *(
            pytest.param(f"pyod_{name}", marks=needs_pyod)
            for name in ("ecod", "iforest", "knn", "auto_encoder")
        ),
    ],
)
def test_peers_on_pixels_find_the_defects(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    data = load_dataset(str(tiny_folder), size=(32, 32), aspect="stretch")
    train, test = (part.images[:].astype(np.float32) / 255 for part in (data.train, data.test))
    fitted = PEERS[name].load()(train, seed=0, seconds=1)
    scores = fitted.score(test)
    area = command.measure(data.test, *scores)["image_auroc"]
    assert area is not None
    assert area > 0.7
    assert (scores.maps is None) == (name != "sklearn_pca")
    if scores.maps is not None:
        assert scores.maps.shape == data.test.masks.shape
    fitted.save(tmp_path)
    assert (tmp_path / "model.joblib").stat().st_size > 1000


def test_command_goes_on_where_it_stopped(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--data",
        str(tiny_folder),
        "--side",
        "32",
        "--peers",
        "sklearn_pca",
        "--out",
        str(tmp_path),
    ]
    table = tmp_path / "trials.jsonl"
    command.main([*flags, "--seeds", "0"])
    first = table.read_text()
    command.main([*flags, "--seeds", "0", "3"])
    second = table.read_text()
    assert second.startswith(first)
    command.main([*flags, "--seeds", "3", "0"])
    assert table.read_text() == second
    rows = [json.loads(line) for line in second.splitlines()]
    assert [row["seed"] for row in rows] == [0, 3]
    for row in rows:
        assert row["image_auroc"] == 1.0
        assert 0.5 < row["pixel_auroc"] <= 1.0
        assert 0 < row["ms_best_batch"] <= row["ms_batch_1"]
        assert 0.01 < row["model_megabytes"] < row["peak_megabytes"] < 2000
    (line,) = json.loads((tmp_path / "peers.json").read_text())
    assert (line["peer"], line["seeds"], line["image_auroc"]) == ("sklearn_pca", "0 3", "1 ± 0")
    assert "| sklearn_pca |" in capsys.readouterr().out


def run(name: str, tmp_path: Path, *, data: str) -> dict[str, float | None]:
    """The row of a trial, in a process of its own, whose warnings are not this project's."""
    command.main(
        ["--peers", name, "--data", data, "--side", "32", "--seconds", "1", "--out", str(tmp_path)]
    )
    (line,) = (tmp_path / "trials.jsonl").read_text().splitlines()
    return json.loads(line)


@pytest.mark.skipif(not is_installed("anomalib"), reason="pip install -e '.[peers]'")
@pytest.mark.parametrize(
    "name", ["anomalib_ganomaly", "anomalib_draem", "anomalib_patchcore_random"]
)
def test_peers_of_anomalib(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    row = run(name, tmp_path, data=str(tiny_folder))
    assert row["image_auroc"] is not None
    assert (row["pixel_auroc"] is None) == (name == "anomalib_ganomaly")


@pytest.mark.parametrize("name", ["i3ad", "i3ad_pca"])
def test_ours(name: str, tmp_path: Path) -> None:
    row = run(name, tmp_path, data="textures:weave")
    assert row["pixel_auroc"] is not None
    assert row["image_auroc"] is not None


def test_a_peer_that_fails_is_noted(tiny_folder: Path, tmp_path: Path) -> None:
    scarce = tmp_path / "scarce"
    shutil.copytree(tiny_folder, scarce)
    for image in sorted((scarce / "train/good").iterdir())[1:]:
        image.unlink()
    with pytest.raises(SystemExit) as stop:
        run("i3ad_pca", tmp_path, data=str(scarce))  # no image is left to hold out
    assert stop.value.code == 1
    assert "- failed: i3ad_pca, seed 0: " in (tmp_path / "peers.md").read_text()
    assert not (tmp_path / "trials.jsonl").exists()


def test_peers_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(PEERS, "ghost", Peer("ghost:fit", ("no-such-distribution",)))
    with pytest.raises(
        InputError, match=r"--peers ghost: no-such-distribution is not .*'\.\[peers\]'"
    ):
        check_peers(("sklearn_pca", "ghost"))
    with pytest.raises(InputError, match=r"^--peers phantom: unknown; one of i3ad, "):
        check_peers(("phantom",))
    with pytest.raises(InputError, match=r"^--side 40: must be a multiple of 32$"):
        command.main(["--side", "40", "--peers", "sklearn_pca", "--out", str(tmp_path)])


def test_a_peer_has_no_network(tmp_path: Path) -> None:
    code = (
        "import sys, urllib.request; from benchmarks.peers.trial import refuse_network;"
        " sys.addaudithook(refuse_network); urllib.request.urlopen('http://{}/')"
    )
    environment = {**clean_environment(tmp_path), **command.ENVIRONMENT}
    for address in ("localhost", "127.0.0.1:9"):
        with pytest.raises(InputError, match="a peer uses the network: socket"):
            cost_of([sys.executable, "-c", code.format(address)], environment=environment)


def test_summary_by_hand() -> None:
    one = dict.fromkeys(command.MEASURED, 2.0) | dict.fromkeys(command.GROUP, "")
    rows = [
        {**one, "peer": "a", "seed": 0, "pixel_auroc": None},
        {**one, "peer": "b", "seed": 0},
        {**one, "peer": "a", "seed": 1, "pixel_auroc": None, "image_auroc": 3.0},
    ]
    a, b = command.summary(rows)
    assert (a["peer"], a["seeds"], a["image_auroc"], a["pixel_auroc"]) == (
        "a",
        "0 1",
        "2.5 ± 0.71",
        None,
    )
    assert (b["peer"], b["seeds"], b["image_auroc"], b["pixel_auroc"]) == ("b", "0", "2", "2")


def test_scores_that_are_not_finite() -> None:
    test = Split.of_normal_images(np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(InputError, match="finite"):
        command.measure(test, np.array([0.0, np.nan]), None)


def test_installed_bytes_count_every_distribution_once() -> None:
    alone, more = installed_bytes(("joblib",)), installed_bytes(("scikit-learn",))
    assert 1e5 < alone < more
    assert installed_bytes(("scikit-learn", "joblib", "no-such-distribution")) == more
