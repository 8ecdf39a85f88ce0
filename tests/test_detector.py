"""The Python API: one object that is trained, scores images of any kind, and is a run on disk."""

import csv
import inspect
import io
import itertools
import json
import logging
import re
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import i3ad_jax
from i3ad_jax import Detector, InputError, Prediction, Trace, TrainingProgress
from i3ad_jax.data.images import preprocess, restore_map
from i3ad_jax.data.load import load_dataset
from i3ad_jax.errors import LearnedLittleWarning
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.runs.calibration_file import calibration_json
from i3ad_jax.scoring.maps import image_scores
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, FlagsOf, tiny_settings

README = Path(__file__).parents[1] / "README.md"
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (45, 31, 3)).astype(np.uint8)
GREY = RNG.integers(0, 256, (20, 57)).astype(np.uint8)


@pytest.fixture(scope="module")
def detector(tiny_folder: Path) -> Detector:
    """pca, which trains in a second: for what does not depend on the method."""
    return Detector.fit(tiny_folder, method="pca", **tiny_settings("pca"))


def pixels(files: list[Path]) -> list[np.ndarray]:
    return [np.asarray(Image.open(file)) for file in files]


def assert_same(left: Detector, right: Detector) -> None:
    """Both have the same weights, calibration and settings except for the data's name."""
    for a, b in zip(jax.tree.leaves(left.state), jax.tree.leaves(right.state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert calibration_json(left.calibration) == calibration_json(right.calibration)
    assert left.preprocessing.to_json() == right.preprocessing.to_json()
    np.testing.assert_array_equal(
        left.preprocessing.units.mean_image, right.preprocessing.units.mean_image
    )
    for name, found in left.calibration.statistics.items():
        np.testing.assert_array_equal(found.mean, right.calibration.statistics[name].mean)
        np.testing.assert_array_equal(found.sd, right.calibration.statistics[name].sd)
    assert left.config == right.config.with_settings({"data": left.config.data.data})


def assert_same_predictions(found: list[Prediction], expected: list[Prediction]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.scores == other.scores
        assert one.anomalous == other.anomalous
        np.testing.assert_array_equal(one.original, other.original)
        for name in one.scores:
            np.testing.assert_array_equal(
                one.anomaly_map(score=name), other.anomaly_map(score=name)
            )


def read_table(file: Path) -> list[dict[str, str]]:
    with file.open() as table:
        return list(csv.DictReader(table))


# Training


def test_fit_on_folder_paths_or_arrays_gives_the_bits_of_the_command(
    tiny_folder: Path, tmp_path: Path, flags_of: FlagsOf
) -> None:
    train.main([*flags_of("l2_ae"), "--seed", "3", "--run", str(tmp_path / "run")])
    trained = Detector.load(tmp_path / "run")
    files = sorted((tiny_folder / "train/good").iterdir())
    settings = {"method": "l2_ae", "seed": 3, **tiny_settings("l2_ae")}
    fitted = Detector.fit(tiny_folder, **settings)
    assert_same(fitted, trained)
    assert fitted.config == trained.config
    assert fitted.files == trained.files
    for images in (np.stack(pixels(files)), iter(files), [str(file) for file in files]):
        other = Detector.fit(images, **settings)
        assert_same(other, trained)
        # The same images serve the training, whatever they are called.
        names = {str(number): f"train/good/{number}.png" for number in range(8)}
        assert [names[name] for name in other.files.held_out] == list(trained.files.held_out)
    arguments = [str(tmp_path / "run"), str(tiny_folder / "test"), "--out", str(tmp_path / "out")]
    predict.main([*arguments, "--save", "maps"])
    rows = read_table(tmp_path / "out/predictions.csv")
    for row, prediction in zip(rows, fitted.score(tiny_folder / "test"), strict=True):
        assert row["path"] == prediction.name
        assert {name: float(row[name]) for name in prediction.scores} == prediction.scores
        assert bool(int(row["anomalous"])) == prediction.is_anomalous
        stored = np.load(tmp_path / "out" / row["map"])
        np.testing.assert_array_equal(stored, prediction.anomaly_map(score=prediction.rule.score))


def test_callbacks_see_the_training_and_the_detector_so_far(
    tiny_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[TrainingProgress] = []
    so_far: list[Detector] = []

    def callback(progress: TrainingProgress) -> None:
        seen.append(progress)
        so_far.append(progress.detector())

    settings = {**tiny_settings("l2_ae"), "steps": 45}
    with caplog.at_level(logging.INFO, "i3ad_jax"):
        detector = Detector.fit(tiny_folder, method="l2_ae", callbacks=[callback], **settings)
    numbers = [progress.step for progress in seen]
    assert {20, 40, 45} <= {*numbers}
    assert numbers == sorted({*numbers})
    assert all(progress.steps == 45 for progress in seen)
    assert all(np.isfinite(progress.losses["reconstruction_loss"]) for progress in seen)
    shorter = Detector.fit(tiny_folder, method="l2_ae", **{**settings, "steps": 20})
    expected = shorter.score(tiny_folder / "test")
    for one, other in zip(
        so_far[numbers.index(20)].score(tiny_folder / "test"), expected, strict=True
    ):
        assert one.scores == other.scores
    assert so_far[-1].score(tiny_folder / "test") == detector.score(tiny_folder / "test")
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith("whole images of 32 x 32 pixels, because ")
    assert messages[-1].startswith("step 45 of 45: reconstruction_loss ")


def test_a_callback_can_end_the_training(tiny_folder: Path) -> None:
    def stop(progress: TrainingProgress) -> None:
        raise KeyboardInterrupt(progress.step)

    with pytest.raises(KeyboardInterrupt):
        Detector.fit(tiny_folder, method="l2_ae", callbacks=[stop], **tiny_settings("l2_ae"))


@pytest.mark.filterwarnings("always::i3ad_jax.errors.LearnedLittleWarning")
def test_a_training_that_learns_nothing_warns_in_python_too(tiny_folder: Path) -> None:
    # One component of images that share nothing but their mean tells less than the mean.
    with pytest.warns(LearnedLittleWarning, match="results mean little"):
        Detector.fit(tiny_folder, **{"method": "pca", **tiny_settings("pca"), "components": 1})


def test_seed_and_settings_reach_the_training(tiny_folder: Path, detector: Detector) -> None:
    assert detector.config.training.flat() == {"components": 3}
    assert detector.config.data.image_size == 32
    assert detector.config.data.data == str(tiny_folder)
    other = Detector.fit(tiny_folder, method="pca", **{**tiny_settings("pca"), "seed": 1})
    assert other.files.held_out != detector.files.held_out
    cloth = Detector.fit("textures:mesh", method="pca", components=3, image_size=16, view="whole")
    assert cloth.config.data.data == "textures:mesh"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "^--method magic: unknown"),
        ({"preset": "huge"}, "^--preset huge: unknown"),
        ({"critic_steps": 3}, "^--critic-steps 3: pca has no such setting; f_anogan has it$"),
        ({"components": 0}, "^--components 0: must be at least 1 and at most 65536$"),
        ({"components": "three"}, "^--components three: must be a whole number$"),
        ({"components": 6}, "^--components 6: must be fewer than the images trained on, 6$"),
        ({"image_size": 1}, "^--image-size 1: must be at least 8 and at most 10000$"),
        ({"held_out": float("nan")}, "^--held-out nan: must be a finite number$"),
    ],
)
def test_fit_refuses_wrong_settings_by_their_flag(
    tiny_folder: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Detector.fit(tiny_folder, **{"method": "pca", **tiny_settings("pca"), **settings})


def test_a_training_without_a_test_reads_no_test_image(tiny_folder: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_folder, tmp_path / "data")
    (data / "test/spot/0.png").write_bytes(b"no picture")
    (data / "ground_truth/spot/1_mask.png").write_bytes(b"no picture")
    trained = Detector.fit(data, method="pca", **tiny_settings("pca"))
    assert trained.preprocessing.size == (32, 32)
    with pytest.raises(InputError, match=r"test/spot/0.png: not a PNG"):
        len(load_dataset(str(data), size=(32, 32), aspect="stretch").test)


def test_fit_refuses_what_it_cannot_learn_from(tmp_path: Path) -> None:
    for images in ([], [COLOUR], tmp_path, "nowhere", [COLOUR, "nowhere.png"], [COLOUR, 1.5]):
        with pytest.raises(InputError) as caught:
            Detector.fit(images, method="pca", **tiny_settings("pca"))
        assert "\n" not in str(caught.value)


def test_a_training_that_diverges_is_an_input_error(tiny_folder: Path) -> None:
    settings = tiny_settings("l2_ae") | {"learning_rate": 100.0, "steps": 60}
    with pytest.raises(
        InputError, match=r"^training diverged at step \d+ \(.* = .*\); lower the learning rates$"
    ):
        Detector.fit(tiny_folder, method="l2_ae", **settings)


# What leaves no trace


def test_fit_and_score_leave_signals_jax_settings_files_and_terminal_alone(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("home", "here", "cache", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "here")

    def surroundings() -> list[object]:
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        random = np.random.get_state(legacy=False)["state"]["pos"]  # pyright: ignore
        return [
            handlers,
            dict(jax.config.values),
            random,
            warnings.showwarning,
            threading.active_count(),
        ]

    before, data = surroundings(), {file: file.read_bytes() for file in tiny_folder.rglob("*.png")}
    found = Detector.fit(tiny_folder, method="l2_ae", **tiny_settings("l2_ae"))
    found.score(tiny_folder / "test")
    found.trace(COLOUR)
    found.reconstruct(COLOUR)
    found.recalibrated(COLOUR[None], pooling="top_1")
    assert surroundings() == before
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    assert {file: file.read_bytes() for file in tiny_folder.rglob("*") if file.is_file()} == data
    assert capfd.readouterr() == ("", "")


def test_fit_and_score_work_in_threads(tiny_folder: Path, detector: Detector) -> None:
    found: list[Detector] = []
    scored: list[list[Prediction]] = []

    def work() -> None:
        found.append(Detector.fit(tiny_folder, method="pca", **tiny_settings("pca")))
        scored.append(detector.score(tiny_folder / "test"))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(scored) == 2
    for other, predictions in zip(found, scored, strict=True):
        assert_same(other, detector)
        assert_same_predictions(predictions, detector.score(tiny_folder / "test"))


# Scoring


def as_rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image


def content_of_png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def in_png(image: np.ndarray) -> Image.Image:
    return Image.open(io.BytesIO(content_of_png(image)))


FORMS: dict[str, tuple[Callable[[], Any], np.ndarray]] = {
    "grey": (lambda: GREY, GREY),
    "grey with an axis of one channel": (lambda: GREY[..., None], GREY),
    "RGB": (lambda: COLOUR, COLOUR),
    "RGBA": (lambda: np.concatenate([COLOUR, COLOUR[..., :1]], axis=-1), COLOUR),
    "16-bit grey": (lambda: GREY.astype(np.uint16) * 257, GREY),
    "16-bit colour": (lambda: COLOUR.astype(np.uint16) * 257, COLOUR),
    "a view that is not contiguous": (lambda: COLOUR[::-1, ::-1][::-1, ::-1], COLOUR),
    "Pillow, RGB": (lambda: Image.fromarray(COLOUR), COLOUR),
    "Pillow, grey": (lambda: Image.fromarray(GREY), GREY),
    "Pillow, RGBA": (lambda: Image.fromarray(COLOUR).convert("RGBA"), COLOUR),
    "Pillow, 16-bit grey": (lambda: Image.fromarray(GREY.astype(np.uint16) * 257), GREY),
    "Pillow, opened and not yet read": (lambda: in_png(COLOUR), COLOUR),
    "a file's content": (lambda: content_of_png(COLOUR), COLOUR),
    "a batch": (lambda: COLOUR[None], COLOUR),
    "a batch of grey images": (lambda: GREY[None, ..., None], GREY),
    "a batch of 16 bits": (lambda: COLOUR[None].astype(np.uint16) * 257, COLOUR),
    "a list": (lambda: [COLOUR], COLOUR),
    "a generator": (lambda: (image for image in [GREY]), GREY),
}


@pytest.mark.parametrize(("form", "image"), FORMS.values(), ids=[*FORMS])
def test_an_image_has_the_same_scores_in_whatever_form_it_comes(
    detector: Detector, tmp_path: Path, form: Callable[[], Any], image: np.ndarray
) -> None:
    file = tmp_path / "image.png"
    Image.fromarray(as_rgb(image)).save(file)
    expected = detector.score(file)
    assert expected[0].name == str(file)
    found = detector.score(form())
    assert [prediction.name for prediction in found] == ["0"]
    assert_same_predictions(found, expected)


def test_a_photograph_is_upright_as_its_file_says(detector: Detector, tmp_path: Path) -> None:
    file = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.fromarray(COLOUR).save(file, exif=exif)
    with Image.open(file) as opened:
        assert_same_predictions(detector.score(opened), detector.score(file))
    assert detector.score(file)[0].original.shape == (31, 45, 3)


def test_predictions_hold_together(detector: Detector) -> None:
    images = [COLOUR, GREY, COLOUR[:1, :1], np.full((300, 200, 3), 7, np.uint8)]
    for image, prediction in zip(images, detector.score(images), strict=True):
        np.testing.assert_array_equal(prediction.original, as_rgb(image))
        names = list(detector.calibration.thresholds)
        assert (
            list(prediction.scores)
            == list(prediction.anomalous)
            == list(prediction.small_maps)
            == names
        )
        for name, score in prediction.scores.items():
            assert prediction.anomalous[name] == (score > detector.calibration.thresholds[name])
            map_ = prediction.anomaly_map(score=name)
            assert map_.shape == image.shape[:2]
            assert map_.dtype == np.float32
            small = prediction.small_maps[name]
            assert small.shape == (32, 32)
            expected = restore_map(small, original_size=image.shape[:2], aspect="stretch")
            np.testing.assert_array_equal(map_, expected)
            if name != "combined":
                pooling = detector.calibration.pooling[name]
                assert pooling == "mean" or name.endswith("calibrated")
                assert score == pytest.approx(image_scores(small[None], pooling)[0], rel=1e-6)


def test_images_of_many_sizes_come_back_in_their_order(
    detector: Detector, tiny_folder: Path
) -> None:
    files = sorted(tiny_folder.rglob("*.png"))
    mixed = [*files, COLOUR, Image.fromarray(GREY), tiny_folder / "test/good"]
    found = detector.score(mixed)
    good = sorted((tiny_folder / "test/good").iterdir())
    assert [p.name for p in found] == [
        *map(str, files),
        str(len(files)),
        str(len(files) + 1),
        *map(str, good),
    ]
    for prediction in found[: len(files)]:
        assert_same_predictions([prediction], detector.score(prediction.name))
    assert_same_predictions(
        detector.score(tiny_folder / "test"), detector.score([tiny_folder / "test"])
    )


def test_any_number_of_images_runs_the_same_programs(
    detector: Detector, compiled: list[str]
) -> None:
    detector.score([COLOUR])
    compiled.clear()
    for number in (1, 2, 3, 5, detector.chunk, detector.chunk + 7):
        detector.score([COLOUR] * number)
    assert not compiled


@pytest.mark.parametrize("queue_size", [1, 3, 64])
def test_a_stream_takes_no_more_images_than_two_queues_ahead(
    detector: Detector, queue_size: int
) -> None:
    taken = itertools.count()

    def camera() -> Iterator[np.ndarray]:
        for _ in taken:
            yield COLOUR

    asked = detector.plan.asked.with_settings({"queue_size": queue_size})
    stream = replace(detector, plan=detector.plan.with_asked(asked)).stream(camera())
    expected = detector.score(COLOUR)
    for number, prediction in enumerate(itertools.islice(stream, 5)):
        assert prediction.name == str(number)
        assert prediction.scores == pytest.approx(expected[0].scores, rel=1e-5)
        if number == 0:
            assert next(taken) <= 2 * queue_size
    stream.close()  # pyright: ignore[reportAttributeAccessIssue] (a generator)


def test_no_images_give_no_predictions_and_no_trace(detector: Detector) -> None:
    assert detector.score([]) == []
    assert detector.score(np.zeros((0, 8, 8, 3), np.uint8)) == []
    for function in (detector.trace, detector.reconstruct, detector.recalibrated):
        with pytest.raises(InputError, match="no images"):
            function([])


BAD = {
    "floats of 255": (COLOUR / 1, "image 0: float64 values outside"),
    "booleans": (GREY > 3, "image 0: bool values"),
    "signed numbers": (GREY.astype(np.int16), "image 0: int16 values"),
    "two channels": (COLOUR[..., :2], r"image 0: shape \(45, 31, 2\)"),
    "a line": (GREY[0], r"image 0: shape \(57,\)"),
    "a number": (np.uint8(3), r"image 0: shape \(\); give h w"),
    "no pixels": (COLOUR[:0], r"image 0: shape \(0, 31, 3\)"),
    "five axes": (COLOUR[None, None], r"image 0: shape \(1, 1, 45, 31, 3\)"),
    "the second of a batch": ([COLOUR, GREY / 2], "image 1: float64"),
    "nothing": (None, "images: NoneType"),
    "an object": (object(), "images: object"),
    "numbers": ([1, 2], "image 0: int"),
    "bytes": (b"ab", "image 0: not a PNG"),
    "a path to nothing": ("nowhere.png", "nowhere.png: no such file"),
    "a path to nothing among others": ([COLOUR, "nowhere.png"], "nowhere.png: cannot be read"),
    "floats of Pillow": (Image.fromarray(GREY.astype(np.float32)), "image 0: floating-point"),
    "32-bit grey": (
        Image.fromarray(GREY.astype(np.int32) * 1000),
        "image 0: its grey values exceed 16 bits",
    ),
}


@pytest.mark.parametrize(("images", "message"), BAD.values(), ids=[*BAD])
def test_what_is_no_image_is_named(detector: Detector, images: Any, message: str) -> None:
    for function in (detector.score, detector.trace):
        with pytest.raises(InputError, match=f"^{message}") as caught:
            function(images)
        assert "\n" not in str(caught.value)


def test_a_damaged_file_is_named(detector: Detector, tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("no image")
    for name in ("cut.png", "text.png"):
        with pytest.raises(InputError, match=f"^{tmp_path / name}: "):
            detector.score(tmp_path / name)
    with (
        Image.open(tmp_path / "cut.png") as opened,
        pytest.raises(InputError, match=r"^image 0: cannot be read"),
    ):
        detector.score(opened)


# Reconstructions


@pytest.mark.parametrize("method", [pytest.param("i3ad", marks=pytest.mark.slow), "pca"])
def test_the_trace_ends_in_the_reconstruction(
    method: str, pca_run: Path, tiny_run: Path, tiny_folder: Path
) -> None:
    found = Detector.load({"i3ad": tiny_run, "pca": pca_run}[method])
    files = sorted((tiny_folder / "test").rglob("*.png"))
    traced, reconstructions = found.trace(files), found.reconstruct(files)
    states = len(traced.iterations)
    assert list(traced.iterations) == ({"i3ad": [0, 1, 2], "pca": [0]})[method]
    assert traced.reconstructions.shape == (6, states, 32, 32, 3)
    assert traced.reconstructions.dtype == reconstructions.dtype == np.uint8
    assert traced.masks.shape == traced.scores.shape == (6, states, 32, 32)
    assert traced.masks.dtype == bool
    assert traced.masks[:, 0].all()
    np.testing.assert_array_equal(traced.reconstructions[:, -1], reconstructions)
    for prediction, scores in zip(found.score(files), traced.scores, strict=True):
        np.testing.assert_allclose(scores[-1], prediction.small_maps["ssim"], atol=1e-5)
    working = np.stack(
        [preprocess(Image.open(f).convert("RGB"), size=(32, 32), aspect="stretch") for f in files]
    )
    again = found.trace_pixels(working)
    np.testing.assert_array_equal(again.reconstructions, traced.reconstructions)


def test_a_trace_that_does_not_fit_in_memory_is_refused(tiny_run: Path) -> None:
    found = Detector.load(tiny_run)
    asked = found.plan.asked.with_settings({"iterations": 1_000_000})
    longer = replace(found, plan=found.plan.with_asked(asked))
    with pytest.raises(InputError, match=r"^[^\n]* GiB of memory at least[^\n]*$"):
        longer.trace([COLOUR] * 64)


def test_a_detector_of_tiles_gives_whole_images(tiny_folder: Path, tmp_path: Path) -> None:
    tiles = {"view": "tiles", "tile": 16, "resolution": 44, "components": 3, "queue_size": 4}
    found = Detector.fit(tiny_folder, method="pca", **tiles)
    height, width = found.preprocessing.size
    assert (height, width) == (40, 48)  # about 44 x 44 pixels in the pictures' proportions
    files = sorted((tiny_folder / "test").rglob("*.png"))
    traced, reconstructions = found.trace(files), found.reconstruct(files)
    assert reconstructions.shape == (6, height, width, 3)
    np.testing.assert_array_equal(traced.reconstructions[:, -1], reconstructions)
    predictions = found.score(files)
    for prediction, scores in zip(predictions, traced.scores, strict=True):
        assert prediction.small_maps["ssim"].shape == (height, width)
        np.testing.assert_allclose(scores[-1], prediction.small_maps["ssim"], atol=1e-5)
        assert prediction.anomaly_map(score="ssim").shape == (40, 48)
    found.save(tmp_path / "run")
    assert_same_predictions(Detector.load(tmp_path / "run").score(files), predictions)


# Recalibration


def test_recalibration_equals_evaluate_and_leaves_the_detector_unchanged(
    pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    found = Detector.load(pca_run)
    before = calibration_json(found.calibration)
    held_out = [tiny_folder / path for path in found.files.held_out]
    again = found.recalibrated(held_out, standardise="global", pooling="peak")
    evaluate.main(
        [
            str(pca_run),
            "--standardise",
            "global",
            "--pooling",
            "peak",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    assert_same(again, Detector.load(tmp_path / "out"))
    assert again.state is found.state
    assert calibration_json(found.calibration) == before != calibration_json(again.calibration)


def test_recalibration_takes_only_settings_of_the_test(detector: Detector) -> None:
    owners = (detector.config.training, detector.config.data, detector.config.preprocessing)
    for name, value in {
        "seed": 1,
        **{k: v for owner in owners for k, v in owner.flat().items()},
    }.items():
        if name != "held_out":  # which is an argument already
            with pytest.raises(InputError, match="the weights depend on it; train a new run"):
                detector.recalibrated(COLOUR[None], **{name: value})
    with pytest.raises(InputError, match=r"^--u 0.3: pca has no such setting; i3ad has it$"):
        detector.recalibrated(COLOUR[None], u=0.3)
    with pytest.raises(
        InputError, match=r"^--method l2_ae: cannot take the weights of a run of pca$"
    ):
        detector.recalibrated(COLOUR[None], method="l2_ae")


@pytest.mark.slow
def test_a_projection_takes_the_weights_of_its_autoencoder(tiny_folder: Path) -> None:
    found = Detector.fit(tiny_folder, method="l2_ae", **tiny_settings("l2_ae"))
    held_out = [tiny_folder / path for path in found.files.held_out]
    projected = found.recalibrated(held_out, method="l2_ae_projection", projection_steps=3)
    assert projected.config.method == "l2_ae_projection"
    assert list(projected.trace(COLOUR).iterations) == [0, 1, 2, 3]
    assert found.score(COLOUR)[0].scores != projected.score(COLOUR)[0].scores
    assert_same(projected.recalibrated(held_out, method="l2_ae"), found)


# On disk


def test_a_saved_detector_is_the_same_and_is_a_run_for_the_commands(
    detector: Detector, tiny_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "deep/down/run"
    detector.save(run)
    for folder in (run, str(run)):
        loaded = Detector.load(folder)
        assert_same(loaded, detector)
        assert (loaded.config, loaded.files) == (detector.config, detector.files)
        assert_same_predictions(
            loaded.score(tiny_folder / "test"), detector.score(tiny_folder / "test")
        )
    evaluate.main([str(run)])
    rows = read_table(run / "scores.csv")
    for row, prediction in zip(
        rows, detector.score([tiny_folder / row["path"] for row in rows]), strict=True
    ):
        assert {name: float(row[name]) for name in prediction.scores} == prediction.scores
    train.main(["--run", str(run), "--resume"])
    assert_same(Detector.load(run), detector)


def test_a_detector_is_not_saved_over_a_run(
    detector: Detector, pca_run: Path, tmp_path: Path
) -> None:
    before = {file: file.read_bytes() for file in pca_run.rglob("*") if file.is_file()}
    with pytest.raises(InputError, match="holds a run"):
        detector.save(pca_run)
    assert {file: file.read_bytes() for file in pca_run.rglob("*") if file.is_file()} == before
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        detector.save(tmp_path / "file/run")


def test_a_detector_of_arrays_needs_other_data_to_be_evaluated(
    fails: Fails, tiny_folder: Path, tmp_path: Path
) -> None:
    files = sorted((tiny_folder / "train/good").iterdir())
    run = tmp_path / "run"
    Detector.fit(pixels(files), method="pca", **tiny_settings("pca")).save(run)
    for main, arguments in ((evaluate.main, [run]), (train.main, ["--run", run, "--resume"])):
        assert "the run was trained on images given in Python" in fails(main, arguments)
    evaluate.main([str(run), "--data", str(tiny_folder)])
    assert json.loads((run / "evaluation/results.json").read_text())["num_test_normal"] == 3


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: missing"):
        Detector.load(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


# The package


@pytest.mark.parametrize("method", ["pca", pytest.param("i3ad", marks=pytest.mark.slow)])
def test_the_readme_s_example_runs(
    method: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    assert len(found[1].strip().splitlines()) <= 8
    arguments = 'method="i3ad", steps=1500'
    assert arguments in found[1]
    monkeypatch.chdir(tmp_path)
    Path("my_part").symlink_to(tiny_folder)
    Path("new_images").symlink_to(tiny_folder / "test")
    values = {"method": method, **tiny_settings(method)}
    tiny = ", ".join(f"{name}={value!r}" for name, value in values.items())
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(found[1].replace(arguments, tiny), {})
    lines = printed.getvalue().splitlines()
    assert lines[0].startswith("Evaluation(tiny, 6 images, ")
    names = [line.split()[0] for line in lines[1:]]
    assert [file.name for file in sorted(tmp_path.glob("found-*.png"))] == [
        f"found-{i}.png" for i in range(6)
    ]
    assert names == [str(file) for file in sorted(Path("new_images").rglob("*.png"))]
    assert len(names) == 6


LAZY = """
import sys
import i3ad_jax
heavy = {"jax", "numpy", "PIL", "flax", "orbax", "sklearn", "scipy"}
assert not heavy & {name.partition(".")[0] for name in sys.modules}, "imported at once"
assert dir(i3ad_jax) == i3ad_jax.__all__
assert i3ad_jax.Detector.__module__ == "i3ad_jax.detector"
assert "jax" in sys.modules
assert not {"tensorflow", "tensorflow_datasets", "matplotlib.pyplot"} & {*sys.modules}
"""


def test_the_package_is_imported_lazily(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LAZY], check=True, cwd=tmp_path)
    timed = [sys.executable, "-X", "importtime", "-c", "import i3ad_jax"]
    report = subprocess.run(timed, check=True, capture_output=True, text=True, cwd=tmp_path).stderr
    (line,) = (line for line in report.splitlines() if line.endswith("| i3ad_jax"))
    assert int(line.split("|")[1]) < 300_000  # microseconds


def test_every_public_name_is_there_and_no_other() -> None:
    for name in i3ad_jax.__all__:
        assert getattr(i3ad_jax, name) is not None
    with pytest.raises(AttributeError, match="module 'i3ad_jax' has no attribute 'Detektor'"):
        i3ad_jax.Detektor  # pyright: ignore  # noqa: B018
    assert (Path(inspect.getfile(i3ad_jax)).parent / "py.typed").exists()


def test_no_public_signature_of_the_detector_has_any() -> None:
    functions = [
        f for name, f in inspect.getmembers(Detector) if callable(f) and not name.startswith("_")
    ]
    assert len(functions) >= 10
    for documented in (Detector, Prediction, Trace, *functions):
        for kind in inspect.get_annotations(documented).values():
            assert "Any" not in str(kind), documented
