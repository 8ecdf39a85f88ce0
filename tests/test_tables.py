"""The command for the paper's tables: arithmetic by hand, runs by pca, which takes seconds."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import runs, tables
from experiments.categories import categories, category_name, table_rows
from experiments.comparison import (
    TABLES,
    Cell,
    Run,
    all_methods_csv,
    compare,
    paper_values,
    table_csv,
    table_markdown,
)
from i3ad_jax.config import Config
from i3ad_jax.data.load import DataSettings
from i3ad_jax.errors import InputError
from i3ad_jax.methods import METHODS
from i3ad_jax.runs.files import write_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.training.recorded import Interrupted
from tests.support.made_up_plan import made_up_plan


def outcome(ssim: float | None, l2: float | None = 0.5) -> dict[str, Any]:
    """Content of `results.json`, as far as the tables read it."""
    metrics = ("image_auroc", "pixel_auroc", "pixel_aupro")
    return {"scores": {"l2": dict.fromkeys(metrics, l2), "ssim": dict.fromkeys(metrics, ssim)}}


RESULTS = {
    Run("tile", "i3ad", 0): outcome(0.90),
    Run("tile", "i3ad", 1): outcome(0.96),
    Run("wood", "i3ad", 0): outcome(0.80),
    Run("wood", "i3ad", 1): outcome(0.82),
    Run("bottle", "i3ad", 0): outcome(0.70),
    Run("bottle", "i3ad", 1): outcome(0.78),
    Run("tile", "pca", 0): outcome(0.60),
}
ROWS = table_rows(["bottle", "wood", "tile"])


def cell(row: str, results: dict = RESULTS, rows: dict = ROWS, method: str = "i3ad") -> Cell:
    """The cell of a row in table 1, SSIM."""
    return compare(
        results, row, rows[row], method=method, score="ssim", metric="image_auroc", table=1
    )


def assert_cell(cell: Cell, mean: float, sd: float | None, paper: float | None) -> None:
    assert (cell.mean, cell.sd, cell.paper) == pytest.approx((mean, sd, paper))
    assert cell.difference == (None if paper is None else pytest.approx(mean - paper))


def test_rows_are_in_the_papers_order() -> None:
    rows = table_rows(["mine", "weave", "zipper", "carpet", "bottle"])
    assert list(rows) == [
        "carpet",
        "bottle",
        "zipper",
        "weave",
        "mine",
        "texture",
        "object",
        "total",
    ]
    assert rows["texture"] == ("carpet", "weave")
    assert rows["object"] == ("bottle", "zipper")
    assert rows["total"] == ("carpet", "bottle", "zipper", "weave", "mine")


def test_mean_and_deviation_over_seeds() -> None:
    assert_cell(cell("tile"), 0.93, 0.06 / np.sqrt(2), 0.983)
    assert_cell(cell("tile", method="pca"), 0.60, None, None)
    assert cell("wood", method="pca") == Cell()


def test_means_are_over_the_measured_categories() -> None:
    # By seed 0.85 and 0.89; the paper has 0.983 and 0.936 there.
    assert_cell(cell("texture"), 0.87, 0.04 / np.sqrt(2), 0.9595)
    assert_cell(cell("object"), 0.74, 0.08 / np.sqrt(2), 0.905)
    assert_cell(cell("total"), (0.93 + 0.81 + 0.74) / 3, (2.56 - 2.40) / 3 / np.sqrt(2), 2.824 / 3)
    assert cell("object", rows=table_rows(["tile"])) == Cell()


def test_a_missing_run_leaves_the_other_seeds() -> None:
    results = {run: values for run, values in RESULTS.items() if run != Run("wood", "i3ad", 1)}
    assert_cell(cell("wood", results), 0.80, None, 0.936)
    # Seed 0 alone has both categories: no deviation.
    assert_cell(cell("texture", results), (0.93 + 0.80) / 2, None, 0.9595)


def test_a_category_that_the_paper_lacks() -> None:
    results = {
        **RESULTS,
        Run("weave", "i3ad", 0): outcome(0.99),
        Run("mine", "i3ad", 0): outcome(0.5),
    }
    rows = table_rows(["tile", "wood", "bottle", "weave", "mine"])
    assert_cell(cell("weave", results, rows), 0.99, None, None)
    assert_cell(cell("texture", results, rows), (0.93 + 0.81 + 0.99) / 3, None, None)
    assert_cell(cell("object", results, rows), 0.74, 0.08 / np.sqrt(2), 0.905)
    assert cell("total", results, rows).paper is None


def test_all_of_the_papers_categories_have_its_printed_mean() -> None:
    names = ("carpet", "grid", "leather", "tile", "wood")
    results = {Run(name, "anogan", 0): outcome(0.5) for name in names}
    # of its rows: 0.5722
    cell = compare(
        results, "texture", names, method="anogan", score="l2", metric="image_auroc", table=4
    )
    assert cell.paper == 0.572


def test_no_figure_without_masks() -> None:
    results = {Run("tile", "i3ad", 0): outcome(None)}
    assert cell("tile", results) == Cell()


def test_paper_values() -> None:
    values = paper_values()
    assert values[1, "tile", "i3ad", "ssim"] == 0.983
    assert [values[1, row, "l2_ae", "l2"] for row in ("texture", "object", "total")] == [
        0.781,
        0.749,
        0.760,
    ]
    assert values[3, "total", "ssim_ae_projection", "ssim"] == 0.861
    assert values[4, "carpet", "aegan", "l2_ld"] == 0.132
    assert values[5, "zipper", "f_anogan", "ssim"] == 0.727
    assert (4, "bottle", "anogan", "ssim") not in values
    assert {(table, method, score) for table, _, method, score in values} == {
        (number, *column)
        for number, table in TABLES.items()
        for column in table.columns
        if column[0] != "pca"
    }


def test_csv_has_four_columns_for_each_pair() -> None:
    header, lines = table_csv(1, RESULTS, ROWS)
    assert len(header) == 1 + 4 * 12
    assert {len(line) for line in lines} == {len(header)}
    tile = dict(zip(header, lines[0], strict=True))
    assert tile["category"] == "tile"
    assert tile["i3ad_ssim_difference"] == pytest.approx(-0.053)
    assert tile["pca_ssim_mean"] == 0.60
    assert [tile[f"pca_ssim_{part}"] for part in ("sd", "paper", "difference")] == [None] * 3
    assert tile["l2_ae_l2_paper"] is None  # a method that was not measured


def test_markdown() -> None:
    text = table_markdown(1, RESULTS, ROWS, {"seeds": "0, 1"})
    assert text.startswith("# Table 1. Image AUROC")
    row = next(line for line in text.splitlines() if line.startswith("| tile "))
    assert row.endswith("| 0.930 ± 0.042 (0.983, -0.053) | 0.500 | 0.600 |")
    assert row.startswith("| tile | - | - |")
    assert text.endswith("\n- seeds: 0, 1\n")


def test_all_methods() -> None:
    header, lines = all_methods_csv(RESULTS, ROWS)
    assert header[:5] == ["category", "method", "score", "image_auroc_mean", "image_auroc_sd"]
    assert header[-2:] == ["aupro_mean", "aupro_sd"]
    named = {tuple(line[:3]): line[3:] for line in lines}
    assert named["tile", "pca", "ssim"] == [0.60, None] * 3
    assert named["object", "i3ad", "ssim"][:2] == pytest.approx([0.74, 0.08 / np.sqrt(2)])
    assert ("wood", "pca", "ssim") not in named


def test_headline_is_compared_with_the_best_score_of_each_run() -> None:
    chosen = {
        Run("tile", "pca", 0): outcome(ssim=0.9, l2=0.5) | {"headline": "ssim"},
        Run("tile", "pca", 1): outcome(ssim=0.6, l2=0.7) | {"headline": "ssim"},
    }
    _, lines = all_methods_csv(chosen, table_rows(["tile"]))
    means = {line[2]: line[3] for line in lines if line[0] == "tile"}
    assert means == pytest.approx({"headline": 0.75, "best": 0.8, "l2": 0.6, "ssim": 0.75})


def test_methods_stand_after_those_whose_weights_they_take() -> None:
    sources = {
        name: method.weights_of for name, method in METHODS.items() if method.weights_of is not None
    }
    assert sources == {"l2_ae_projection": "l2_ae", "ssim_ae_projection": "ssim_ae"}
    order = list(METHODS)
    assert all(order.index(source) < order.index(name) for name, source in sources.items())


def test_category_names() -> None:
    assert category_name("mvtec_bottle") == "bottle"
    assert category_name("bottle") == "bottle"
    assert category_name("magnetic_tile") == "magnetic_tile"
    assert category_name("mvtec_mine") == "mvtec_mine"


def test_data(tmp_path: Path) -> None:
    for name in ("mvtec_bottle", "cloth"):
        (tmp_path / "all" / name / "train" / "good").mkdir(parents=True)
    (tmp_path / "all" / "notes").mkdir()
    (tmp_path / "all" / "notes" / "flat.png").touch()
    (tmp_path / "btad" / "01" / "train" / "ok").mkdir(parents=True)
    (tmp_path / "parts.csv").touch()
    assert categories([str(tmp_path / "btad")]) == {"01": str(tmp_path / "btad/01")}
    assert categories([str(tmp_path / "parts.csv")]) == {"parts": str(tmp_path / "parts.csv")}
    assert list(categories(["textures"])) == ["weave", "mesh", "brick"]
    assert categories(["textures:mesh", "tfds:mvtec_ad/tile"]) == {
        "mesh": "textures:mesh",
        "tile": "tfds:mvtec_ad/tile",
    }
    found = {"cloth": str(tmp_path / "all/cloth"), "bottle": str(tmp_path / "all/mvtec_bottle")}
    assert categories([str(tmp_path / "all")]) == found
    assert categories([str(tmp_path / "all/cloth")]) == {"cloth": found["cloth"]}
    with pytest.raises(InputError, match="called bottle too; rename"):
        categories(["tfds:mvtec_ad/bottle", str(tmp_path / "all")])
    with pytest.raises(
        InputError, match="neither it nor a folder in it is of a layout that has test"
    ):
        categories([str(tmp_path)])
    with pytest.raises(InputError, match="nowhere: cannot be listed"):
        categories([str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match="--data textures:denim: no such texture"):
        categories(["textures:denim"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--methods pca magic", "--methods magic: unknown; choose from i3ad, l2_ae"),
        ("--methods", "--methods: no value given"),
        ("--steps 0", "--steps 0: must be at least 1"),
        ("--methods pca --steps 7", "--steps 7: pca has no such setting; i3ad, l2_ae"),
        ("--preset huge", "huge"),
    ],
)
def test_wrong_flags(tmp_path: Path, flags: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tables.main(["--data", "textures", "--out", str(tmp_path / "out"), *flags.split()])
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="session")
def two_categories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two categories: `mvtec_tile`, and `scarce`, with no image to hold out."""
    root = tmp_path_factory.mktemp("categories")
    rng = np.random.default_rng(0)
    for name, count in (("mvtec_tile", 40), ("scarce", 1)):
        for split, number in (("train/good", count), ("test/good", 2), ("test/spot", 2)):
            folder = root / name / split
            folder.mkdir(parents=True)
            for i in range(number):
                picture = rng.integers(0, 100, (16, 16, 3), np.uint8)
                mask = np.zeros((16, 16), np.uint8)
                if split == "test/spot":
                    mask[4:8, 4:8] = 255
                    picture[mask > 0] = 255
                    (root / name / "ground_truth/spot").mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask).save(root / name / f"ground_truth/spot/{i}_mask.png")
                Image.fromarray(picture).save(folder / f"{i}.png")
    return root


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.slow
def test_runs(two_categories: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = [
        "--data",
        str(two_categories),
        "--methods",
        "pca",
        "--seeds",
        "0",
        "1",
        "--out",
        str(tmp_path),
    ]
    with pytest.raises(SystemExit) as stop:  # two failed, the others are there
        tables.main(command)
    assert stop.value.code == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert [line.split(": 1 normal image")[0] for line in errors] == [
        "error: scarce pca seed 0",
        "error: scarce pca seed 1",
    ]
    done = [tmp_path / f"runs/tile/pca-seed{seed}" for seed in (0, 1)]
    values = [json.loads((folder / "results.json").read_text())["scores"]["l2"] for folder in done]
    tile, scarce, texture, _, total = read(tmp_path / "table1.csv")
    assert float(tile["pca_l2_mean"]) == pytest.approx(np.mean([v["image_auroc"] for v in values]))
    assert tile == {**texture, "category": "tile"} == {**total, "category": "tile"}
    assert scarce["pca_l2_mean"] == ""
    row = next(row for row in read(tmp_path / "all_methods.csv") if row["score"] == "l2")
    assert float(row["aupro_mean"]) == pytest.approx(np.mean([v["pixel_aupro"] for v in values]))
    assert not (tmp_path / "table4.csv").exists()
    notes = (tmp_path / "table3.md").read_text()
    assert "- runs: 2 of 4 finished" in notes
    assert "- failed and left out: scarce pca seed 1: 1 normal image" in notes
    assert "InputError: 1 normal image" in (tmp_path / "failures.log").read_text()

    # Again: what is done is left alone, what was cut off goes on.
    (done[1] / "results.json").unlink()
    before = (
        (done[0] / "results.json").stat().st_mtime_ns,
        (done[1] / "config.json").stat().st_mtime_ns,
    )
    command[1] = str(two_categories / "mvtec_tile")
    tables.main(command)
    after = (
        (done[0] / "results.json").stat().st_mtime_ns,
        (done[1] / "config.json").stat().st_mtime_ns,
    )
    assert before == after
    again = json.loads((done[1] / "results.json").read_text())["scores"]["l2"]
    assert again == values[1]

    with pytest.raises(
        InputError, match=r"--preset paper: .*pca-seed0 was trained with standard; ask for that"
    ):
        tables.main([*command, "--preset", "paper"])


def test_a_folder_means_the_same_data_from_every_working_directory(
    two_categories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two_categories)
    planned = runs.plan(data=["mvtec_tile"], methods=["pca"], seeds=[0], preset="quick", steps=None)
    assert planned[Run("tile", "pca", 0)].data.data == str(two_categories / "mvtec_tile")


def finish(folder: RunFolder) -> dict[str, Any]:
    """Writes what a finished run has."""
    write_json(folder.results, outcome(0.5))
    return outcome(0.5)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Config]]:
    """Replaces training and testing; lists the calls with their settings."""
    calls = []

    def train(config: Config, folder: RunFolder, *, resume: bool, command: Sequence[str]) -> dict:
        calls.append(("resume" if resume else "train", config))
        if not resume:
            folder.create(made_up_plan(config), command=command)
        return finish(folder)

    def evaluate_run(
        source: RunFolder,
        config: Config,
        *,
        data: DataSettings,
        out: RunFolder,
        command: Sequence[str],
    ) -> dict:
        calls.append((f"evaluate {source.path.name}", config))
        assert source.read_config().for_method(config.method) == config
        assert data == config.data
        out.create(made_up_plan(config), command=command)
        return finish(out)

    monkeypatch.setattr(runs, "train_and_test", train)
    monkeypatch.setattr(runs, "evaluate_run", evaluate_run)
    return calls


@pytest.mark.parametrize("test", ["", "test", "test_public"])
def test_data_without_test_images_are_refused_before_training(
    calls: list, tmp_path: Path, test: str
) -> None:
    images = [tmp_path / "part/train/good/0.png"]
    if test:
        (tmp_path / "part" / test / "good").mkdir(parents=True)
        images += [tmp_path / "part" / test / "good/0.png"] if test == "test_public" else []
    for image in images:
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(image)
    data = [str(tmp_path / "part")]
    planned = runs.plan(data=data, methods=["pca"], seeds=[0], preset="quick", steps=None)
    (run,) = planned
    if test == "test_public":
        runs.make(run, planned, tmp_path / "out")
        assert [name for name, _ in calls] == ["train"]
    else:
        with pytest.raises(InputError, match="no test images to measure with"):
            runs.make(run, planned, tmp_path / "out")
        assert not calls


def test_a_projection_takes_the_autoencoders_run(calls: list, tmp_path: Path) -> None:
    command = [
        *(
            "--data",
            "textures:weave",
            "--methods",
            "l2_ae_projection",
            "--seeds",
            "1",
            "0",
            "--steps",
            "3",
        ),
        *("--out", str(tmp_path)),
    ]
    tables.main(command)
    found = [(call, config.method, config.seed, config.training.steps) for call, config in calls]
    assert found == [
        ("train", "l2_ae", 1, 3),
        ("evaluate l2_ae-seed1", "l2_ae_projection", 1, 3),
        ("train", "l2_ae", 0, 3),
        ("evaluate l2_ae-seed0", "l2_ae_projection", 0, 3),
    ]
    weave = read(tmp_path / "table1.csv")[0]
    assert weave["l2_ae_projection_l2_mean"] == "0.5"
    assert weave["l2_ae_l2_mean"] == ""  # was not asked for
    tables.main(command)
    assert len(calls) == 4


@pytest.mark.parametrize("error", [InputError("training diverged"), ValueError("no\nluck")])
def test_no_projection_on_an_autoencoder_that_failed(
    calls: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    trained = runs.train_and_test

    def train(
        config: Config, folder: RunFolder, *, resume: bool, command: Sequence[str]
    ) -> dict | None:
        if config.method == "l2_ae":
            folder.create(made_up_plan(config))
            raise error
        return trained(config, folder, resume=resume, command=command)

    monkeypatch.setattr(runs, "train_and_test", train)
    methods = ["l2_ae", "l2_ae_projection", "pca"]
    with pytest.raises(SystemExit):
        tables.main(
            [
                "--data",
                "textures:weave",
                "--methods",
                *methods,
                "--seeds",
                "0",
                "--out",
                str(tmp_path),
            ]
        )
    assert [config.method for _, config in calls] == ["pca"]
    notes = (tmp_path / "table1.md").read_text()
    one_line = "training diverged" if isinstance(error, InputError) else "ValueError: no luck"
    assert f"- failed and left out: weave l2_ae seed 0: {one_line}\n" in notes
    assert "weave l2_ae_projection seed 0: takes the weights of weave l2_ae seed 0, which" in notes


def test_an_interruption_keeps_the_tables_so_far(
    calls: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    trained = runs.train_and_test

    def train(
        config: Config, folder: RunFolder, *, resume: bool, command: Sequence[str]
    ) -> dict | None:
        if config.seed == 1 and not resume:
            folder.create(made_up_plan(config))
            raise Interrupted(5, 2, taken=5, left=1)
        return trained(config, folder, resume=resume, command=command)

    monkeypatch.setattr(runs, "train_and_test", train)
    command = ["--data", "textures:weave", "--methods", "unet", "i3ad", "--seeds", "0", "1"]
    command += ["--out", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        tables.main(command)
    assert stop.value.code == 130
    assert (
        "weave i3ad seed 1 stopped after step 5, which is saved. To continue"
        in capsys.readouterr().err
    )
    assert "- runs: 2 of 4 finished" in (tmp_path / "table5.md").read_text()
    with pytest.raises(SystemExit):  # unet has not begun
        tables.main(command)
    assert [call for call, _ in calls] == ["train", "train", "resume"]
