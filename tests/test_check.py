"""Findings in a data set before training: 20 injected faults, and nothing in a clean one."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.check import __main__ as check
from i3ad_jax.check import checks, cost, inspection
from i3ad_jax.check.findings import SEVERITIES, Finding
from i3ad_jax.check.inspection import Inspection, inspect_data
from i3ad_jax.check.records import Records, read_records
from i3ad_jax.check.text import facts
from i3ad_jax.config import PRESETS
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.errors import LeftOutWarning
from tests.conftest import Fails, unreadable
from tests.support.cloth import SIZE, small_config
from tests.support.copies import darker, smaller
from tests.support.layout_trees import kolektor_sdd2
from tests.support.loading import load

Expected = set[tuple[str, str]]


@pytest.fixture(scope="module", autouse=True)
def quick_estimates() -> Iterator[None]:
    """Estimates the cost of small networks, by the speed of a small matrix product."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspection, "default_config", small_config)
        patch.setattr(cost, "PRODUCT_SIZE", 64)
        yield


def rewrite(file: Path, change: Callable[[Image.Image], Image.Image]) -> None:
    with Image.open(file) as opened:
        picture = change(opened.convert("RGB"))
    picture.save(file)


def not_an_image(root: Path) -> Expected:
    (root / "train/good/000.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(200)))
    return {("broken_image", "train/good/000.png")}


def truncated(root: Path) -> Expected:
    file = root / "test/good/000.png"
    file.write_bytes(file.read_bytes()[:-500])
    return {("broken_image", "test/good/000.png")}


def empty_file(root: Path) -> Expected:
    (root / "train/good/001.png").write_bytes(b"")
    return {("broken_image", "train/good/001.png")}


def without_known_range(root: Path) -> Expected:
    Image.fromarray(np.ones(SIZE, np.float32)).save(root / "train/good/float.tif")
    return {("broken_image", "train/good/float.tif")}


def same_file_to_train_on(root: Path) -> Expected:
    shutil.copy(root / "train/good/002.png", root / "train/good/copy.png")
    return {("duplicate", "train/good/002.png train/good/copy.png")}


def same_pixels_in_another_format(root: Path) -> Expected:
    Image.open(root / "train/good/003.png").save(root / "train/good/copy.bmp")
    return {("duplicate", "train/good/003.png train/good/copy.bmp")}


def same_file_to_test_on(root: Path) -> Expected:
    shutil.copy(root / "test/good/001.png", root / "test/good/copy.png")
    return {("duplicate", "test/good/001.png test/good/copy.png")}


def leak_of_a_file(root: Path) -> Expected:
    shutil.copy(root / "train/good/004.png", root / "test/good/leak.png")
    return {("leakage", "train/good/004.png test/good/leak.png")}


def normal_image_called_defective(root: Path) -> Expected:
    shutil.copy(root / "test/good/002.png", root / "test/blur/other.png")
    shutil.copy(root / "ground_truth/blur/000_mask.png", root / "ground_truth/blur/other_mask.png")
    return {("contradictory_labels", "test/blur/other.png test/good/002.png")}


def leak_of_a_jpeg(root: Path) -> Expected:
    with Image.open(root / "train/good/005.png") as picture:
        picture.save(root / "test/good/leak.jpg", quality=80)
    return {("near_leakage", "train/good/005.png test/good/leak.jpg")}


def leak_of_a_darker_image(root: Path) -> Expected:
    shutil.copy(root / "train/good/006.png", root / "test/good/dark.png")
    rewrite(root / "test/good/dark.png", darker)
    return {("near_leakage", "train/good/006.png test/good/dark.png")}


def smaller_copy_to_train_on(root: Path) -> Expected:
    shutil.copy(root / "train/good/007.png", root / "train/good/small.png")
    rewrite(root / "train/good/small.png", smaller)
    return {("near_duplicate", "train/good/007.png train/good/small.png")}


def mask_of_another_size(root: Path) -> Expected:
    Image.fromarray(np.eye(SIZE[0], dtype=bool)).save(root / "ground_truth/blob/000_mask.png")
    return {("mask_size", "test/blob/000.png ground_truth/blob/000_mask.png")}


def no_mask(root: Path) -> Expected:
    (root / "ground_truth/blob/001_mask.png").unlink()
    return {("missing_mask", "test/blob/001.png")}


def mask_without_image(root: Path) -> Expected:
    shutil.copy(root / "ground_truth/cut/000_mask.png", root / "ground_truth/cut/9_mask.png")
    return {("mask_without_image", "ground_truth/cut/9_mask.png")}


def empty_mask(root: Path) -> Expected:
    Image.fromarray(np.zeros(SIZE, bool)).save(root / "ground_truth/blob/002_mask.png")
    return {("empty_mask", "test/blob/002.png ground_truth/blob/002_mask.png")}


def full_mask(root: Path) -> Expected:
    Image.fromarray(np.ones(SIZE, bool)).save(root / "ground_truth/cut/000_mask.png")
    return {("full_mask", "test/cut/000.png ground_truth/cut/000_mask.png")}


def broken_mask(root: Path) -> Expected:
    (root / "ground_truth/cut/001_mask.png").write_bytes(b"no mask")
    return {("broken_mask", "test/cut/001.png ground_truth/cut/001_mask.png")}


def mask_of_a_normal_image(root: Path) -> Expected:
    (root / "ground_truth/good").mkdir()
    shutil.copy(root / "ground_truth/scratch/000_mask.png", root / "ground_truth/good/003_mask.png")
    return {("mask_of_normal_image", "test/good/003.png ground_truth/good/003_mask.png")}


def two_masks(root: Path) -> Expected:
    shutil.copy(root / "ground_truth/scratch/001_mask.png", root / "ground_truth/scratch/001.png")
    return {("second_mask", "ground_truth/scratch/001_mask.png")}


def image_of_no_class(root: Path) -> Expected:
    shutil.move(root / "test/good/004.png", root / "test/loose.png")
    return {("loose_image", "test/loose.png")}


def grey_image(root: Path) -> Expected:
    rewrite(root / "train/good/008.png", lambda picture: picture.convert("L"))
    return {("mixed_colour", "train/good/008.png")}


FAULTS = (
    *(not_an_image, truncated, empty_file, without_known_range, same_file_to_train_on),
    *(
        same_pixels_in_another_format,
        same_file_to_test_on,
        leak_of_a_file,
        normal_image_called_defective,
    ),
    *(
        leak_of_a_jpeg,
        leak_of_a_darker_image,
        smaller_copy_to_train_on,
        mask_of_another_size,
        no_mask,
    ),
    *(mask_without_image, empty_mask, full_mask, broken_mask, mask_of_a_normal_image, two_masks),
    *(image_of_no_class, grey_image),
)


def found(findings: Iterable[Finding]) -> Expected:
    return {(finding.kind, " ".join(finding.files)) for finding in findings}


def test_every_planted_fault_is_found_and_nothing_else(cloth: Path, tmp_path: Path) -> None:
    root = shutil.copytree(cloth, tmp_path / "spoilt")
    planted = [plant(root) for plant in FAULTS]
    assert len(set().union(*planted)) == sum(map(len, planted)) >= 20
    assert found(inspect_data(root).findings) == set().union(*planted)


def test_nothing_is_found_in_a_clean_data_set(cloth: Path) -> None:
    assert inspect_data(cloth).findings == ()


# Faults of how files are arranged and encoded: each in a data set of its own.


def nested_folders(root: Path) -> str:
    (root / "train/good/day2").mkdir()
    for file in sorted((root / "train/good").glob("*.png"))[:4]:
        file.rename(root / "train/good/day2" / file.name)
    return "train/good/day2 (4)"


def twelve_bits(root: Path) -> str:
    for file in (*root.glob("train/*/*.png"), *root.glob("test/*/*.png")):
        grey = np.asarray(Image.open(file).convert("L"), np.uint16)
        Image.fromarray(grey * 16).save(file)
    return "--bit-depth 12"


def change_masks(root: Path, change: Callable[[np.ndarray], np.ndarray], suffix: str) -> None:
    for file in [*root.glob("ground_truth/*/*.png")]:
        values = np.asarray(Image.open(file).convert("L"))
        file.unlink()
        Image.fromarray(change(values)).save(file.with_suffix(suffix))


def inverted_by_area(root: Path) -> str:
    change_masks(root, lambda values: 255 - values, ".png")
    return "more than half of the image in"


def inverted_by_border(root: Path) -> str:
    def large(values: np.ndarray) -> np.ndarray:
        inverted = np.full_like(values, 255)
        inverted[4:-4, 4:-4] = 0
        return inverted

    change_masks(root, large, ".png")
    return "the border of the image in"


def masks_as_jpeg(root: Path) -> str:
    change_masks(root, lambda values: values, ".jpg")
    return "PNG keeps numbers"


def normal_class_of_another_name(root: Path) -> str:
    (root / "test/gut").mkdir()
    for file in sorted((root / "test/good").glob("*.png"))[::2]:
        shutil.move(file, root / "test/gut")
    for file in sorted((root / "train/good").glob("*.png"))[:4]:
        file.rename(root / "test/gut" / f"more_{file.name}")
    return "--normal-class gut"


def images_of_other_types(root: Path) -> str:
    for name in ("1.heic", "2.HEIC"):
        (root / "train/good" / name).write_bytes(b"x")
    return "2 .heic files"


def misnamed_masks(root: Path) -> str:
    (root / "ground_truth").rename(root / "mask_files")
    return "images in mask_files/"


def misnamed_class_of_masks(root: Path) -> str:
    (root / "ground_truth/blob").rename(root / "ground_truth/blobs")
    return "no image of that name in test/blobs"


def no_images_to_train_on(root: Path) -> str:
    shutil.rmtree(root / "train")
    return "0 readable training image(s)"


def masks_without_folders(root: Path) -> str:
    for file in (root / "ground_truth/blob").glob("*.png"):
        file.rename(root / "ground_truth" / file.name)
    return "no image of that name"


ARRANGEMENTS = {
    nested_folders: "left_out_images",
    twelve_bits: "unused_range",
    inverted_by_area: "inverted_masks",
    inverted_by_border: "inverted_masks",
    masks_as_jpeg: "lossy_masks",
    normal_class_of_another_name: "class_like_normal",
    images_of_other_types: "other_image_types",
    misnamed_masks: "unused_masks",
    misnamed_class_of_masks: "mask_without_image",
    no_images_to_train_on: "too_few_images",
    masks_without_folders: "mask_without_image",
}
NEW_KINDS = {
    *("left_out_images", "unused_range", "inverted_masks", "lossy_masks", "class_like_normal"),
    *("other_image_types", "unused_masks", "unreadable_folder", "stray_copy"),
}


@pytest.mark.parametrize(
    ("plant", "kind"),
    [pytest.param(plant, kind, id=plant.__name__) for plant, kind in ARRANGEMENTS.items()],
)
def test_a_fault_of_the_arrangement_is_found(
    cloth: Path, tmp_path: Path, plant: Callable[[Path], str], kind: str
) -> None:
    root = shutil.copytree(cloth, tmp_path / "data")
    words = plant(root)
    findings = inspect_records(read_records(root))
    assert kind in {finding.kind for finding in findings}
    assert any(words in finding.message for finding in findings if finding.kind == kind)
    assert {finding.kind for finding in findings} & NEW_KINDS <= {kind}


def inspect_records(records: Records) -> list[Finding]:
    return [finding for each in checks.CHECKS for finding in each(records)]


def test_a_folder_that_cannot_be_read_and_is_not_needed_is_found(
    cloth: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(cloth, tmp_path / "data")
    (root / "private").mkdir()
    with unreadable(root / "private"):
        findings = inspect_records(read_records(root))
        with pytest.warns(LeftOutWarning, match="private: cannot be listed"):
            load(root)
    assert found(findings) == {("unreadable_folder", "")}


def test_copies_of_published_data_are_found(tmp_path: Path) -> None:
    kolektor_sdd2(tmp_path)
    for name in ("10000", "10000_GT"):
        shutil.copy(tmp_path / f"train/{name}.png", tmp_path / f"train/{name} (copy).png")
    findings = inspect_records(read_records(tmp_path))
    assert {("stray_copy", f"train/{name} (copy).png") for name in ("10000", "10000_GT")} <= found(
        findings
    )
    assert {f.severity for f in findings if f.kind == "stray_copy"} == {"note"}


def test_folders_without_known_names_are_answered_with_options(
    cloth: Path, tmp_path: Path, fails: Fails
) -> None:
    shutil.copytree(cloth / "train/good", tmp_path / "gut")
    shutil.copytree(cloth / "test/blob", tmp_path / "schlecht")
    shutil.copytree(cloth / "ground_truth/blob", tmp_path / "flecken")
    assert "--normal DIR" in fails(check.main, [tmp_path, "--out", tmp_path / "out"])
    reading = ReadingSettings(normal="gut", anomalous="schlecht", masks="flecken")
    records = read_records(tmp_path, reading=reading)
    assert inspect_records(records) == []
    assert (len(records.readable("train")), len(records.readable("test"))) == (32, 11)


def test_unused_files_are_among_the_facts(cloth: Path, tmp_path: Path) -> None:
    root = shutil.copytree(cloth, tmp_path / "data")
    (root / "readme.txt").write_text("x")
    inspection = Inspection(root, read_records(root), (), {})
    assert facts(inspection)["not used"] == "1 .txt file"
    assert inspection.to_json()["not_used"] == "not used: 1 .txt file"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mvtec_bottle", "magnetic_tile", "screw", "elpv_mono"])
def test_real_data_have_no_fault_of_the_arrangement(
    real_data: Callable[[str], Path], name: str
) -> None:
    findings = inspect_records(read_records(real_data(name)))
    assert not {finding.kind for finding in findings} & NEW_KINDS


@pytest.mark.slow
def test_real_normal_images_under_another_name_are_found(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    root = shutil.copytree(real_data("mvtec_bottle"), tmp_path / "bottle")
    (root / "test/gut").mkdir()
    for file in sorted((root / "test/good").iterdir())[::2]:
        shutil.move(file, root / "test/gut")
    shutil.rmtree(root / "ground_truth/broken_small")  # defects without masks are told apart
    findings = inspect_records(read_records(root))
    messages = [finding.message for finding in findings if finding.kind == "class_like_normal"]
    assert len(messages) == 1
    assert "--normal-class gut" in messages[0]


@pytest.mark.slow
def test_real_bottles_that_lie_alike_are_not_called_the_same(
    real_data: Callable[[str], Path],
) -> None:
    findings = inspect_data(real_data("mvtec_bottle")).findings
    # These two show the same scratch at the same place: one bottle, photographed twice.
    assert found(findings) == {("near_duplicate", "train/good/069.png train/good/070.png")}


@pytest.mark.slow
def test_real_tiles_have_the_faults_that_are_known(real_data: Callable[[str], Path]) -> None:
    root = real_data("magnetic_tile")
    findings = inspect_data(root).findings
    kinds = {finding.kind for finding in findings}
    assert kinds == {"empty_mask", "near_leakage", "near_duplicate", "different_proportions"}
    empty = [finding.files[1] for finding in findings if finding.kind == "empty_mask"]
    assert empty
    assert not any(np.asarray(Image.open(root / file)).any() for file in empty)
    listed = (
        Path(__file__).parents[1] / "experiments/results/scores/magnetic_tile_near_duplicates.txt"
    )
    known = set(listed.read_text().split())
    leaked = {Path(file).stem for f in findings if f.kind == "near_leakage" for file in f.files}
    assert len(leaked & known) >= 0.9 * len(known)


@pytest.fixture(scope="module")
def spoilt(cloth: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a small dataset with two faults and a name that needs escaping; check it."""
    folder = tmp_path_factory.mktemp("spoilt")
    root = folder / "<b>cloth"
    for part in ("train/good", "test/good", "test/blob", "ground_truth/blob"):
        (root / part).mkdir(parents=True)
        for file in sorted((cloth / part).iterdir())[:5]:
            shutil.copy(file, root / part)
    not_an_image(root)
    empty_mask(root)
    with pytest.raises(SystemExit) as stop:
        check.main([str(root), "--out", str(folder / "out")])
    assert stop.value.code == 1
    return root, folder / "out"


def test_json_has_all_findings_and_counts(spoilt: tuple[Path, Path]) -> None:
    values = json.loads((spoilt[1] / "check.json").read_text())
    assert values["counts"] == {"train": {"good": 5}, "test": {"good": 5, "blob": 3}}
    assert {finding["kind"] for finding in values["findings"]} == {"broken_image", "empty_mask"}
    assert values["figures"]["modes"] == {"RGB": 12}
    assert values["figures"]["heights"] == {"least": 72, "median": 72, "most": 72}
    steps = {name: preset["steps"] for name, preset in values["presets"].items()}
    assert steps == {name: small_config("i3ad", preset=name).training.steps for name in PRESETS}
    assert len(set(steps.values())) == len(steps) == len(PRESETS)


def test_page_is_one_file_that_loads_nothing(spoilt: tuple[Path, Path]) -> None:
    html = (spoilt[1] / "check.html").read_text()
    assert "default-src 'none'" in html
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(sources) >= 8
    assert all(source.startswith("data:image/") for source in sources)
    assert "&lt;b&gt;cloth" in html
    assert "<b>cloth" not in html
    assert "ground_truth/blob/002_mask.png" in html


def test_clean_data_set_ends_with_0_and_says_so(
    cloth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check.main([str(cloth)])
    out = capsys.readouterr().out
    assert "0 error(s), 0 warning(s), 0 note(s): nothing" in out
    assert "train images:       40 (40 good)" in out
    assert {file.name for file in (tmp_path / "checks/cloth").iterdir()} == {
        "check.json",
        "check.html",
    }


def test_broken_images_alone_are_reported_too(tmp_path: Path) -> None:
    (tmp_path / "train/good").mkdir(parents=True)
    (tmp_path / "train/good/0.png").write_bytes(b"")
    inspection = inspect_data(tmp_path)
    assert {finding.kind for finding in inspection.findings} == {
        "broken_image",
        "too_few_images",
        *NOTES,
    }
    assert inspection.presets == {}
    assert inspection.figures() == {}


NOTES = ("no_test_images",)


def test_normal_images_alone_are_fine(cloth: Path, tmp_path: Path) -> None:
    shutil.copytree(cloth / "train", tmp_path / "train")
    findings = inspect_data(tmp_path).findings
    assert found(findings) == {(kind, "") for kind in NOTES}
    shutil.copytree(cloth / "test/blob", tmp_path / "test/blob")
    assert found(inspect_data(tmp_path).findings) == {("no_masks", ""), ("one_sided_test", "")}


def test_masks_in_a_folder_for_each_image_are_checked_too(cloth: Path, tmp_path: Path) -> None:
    """The layout of MVTec LOCO AD."""
    shutil.copytree(cloth / "train", tmp_path / "train")
    shutil.copytree(cloth / "test/good", tmp_path / "test/good")
    shutil.copytree(cloth / "test/blob", tmp_path / "test/logical_anomalies")
    for stem in ("000", "001", "002", "9"):
        folder = tmp_path / "ground_truth/logical_anomalies" / stem
        folder.mkdir(parents=True)
        for number in range(2):
            Image.fromarray(np.eye(*SIZE, k=number, dtype=bool)).save(folder / f"{number:03}.png")
    inspection = inspect_data(tmp_path)
    assert found(inspection.findings) == {
        ("mask_without_image", "ground_truth/logical_anomalies/9")
    }
    assert inspection.figures()["masks"] == 6


def test_different_proportions_are_a_note(cloth: Path, tmp_path: Path) -> None:
    root = shutil.copytree(cloth, tmp_path / "data")
    rewrite(root / "train/good/000.png", lambda picture: picture.crop((0, 0, 40, 72)))
    assert found(inspect_data(root).findings) == {("different_proportions", "train/good/000.png")}


def test_a_check_is_a_function_in_a_list(cloth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = Finding("note", "mine", (), "there is a fourth image")
    mine = lambda records: [note] if len(records.images) > 3 else []  # noqa: E731
    monkeypatch.setattr("i3ad_jax.check.inspection.CHECKS", [*checks.CHECKS, mine])
    assert inspect_data(cloth).findings == (note,)


def test_errors_come_first(cloth: Path, tmp_path: Path) -> None:
    root = shutil.copytree(cloth, tmp_path / "data")
    for plant in (smaller_copy_to_train_on, leak_of_a_jpeg, empty_mask):
        plant(root)
    inspection: Inspection = inspect_data(root)
    severities = [finding.severity for finding in inspection.findings]
    assert severities == list(SEVERITIES)
    assert inspection.spoils_results


def test_wrong_input_is_one_line(fails: Fails, tmp_path: Path) -> None:
    assert "nowhere" in fails(check.main, ["nowhere"])
    (tmp_path / "train/good").mkdir(parents=True)
    assert "train/good" in fails(check.main, [tmp_path, "--out", tmp_path / "out"])
    assert "--layout" in fails(check.main, [tmp_path, "--layout", "heap"])
    assert not (tmp_path / "out").exists()
