"""Settings of a whole training: presets, JSON, and the settings that a test may change."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, get_args

import pytest

from benchmarks.networks import build
from i3ad_jax.config import PRESETS, Config, Preset, default_config
from i3ad_jax.data.load import DataSettings
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.methods import METHODS
from i3ad_jax.methods.method import NoSettings
from i3ad_jax.methods.pca import PcaSettings
from i3ad_jax.scoring.ssim import SsimSettings
from i3ad_jax.settings import SettingError, flag
from tests.conftest import Fails


def test_the_type_of_presets_names_them_all() -> None:
    assert get_args(Preset) == tuple(PRESETS)


def test_config_survives_json() -> None:
    for preset, method in itertools.product(PRESETS, METHODS):
        config = default_config(method, preset=preset)
        stored = json.loads(json.dumps(config.to_json()))
        assert stored == config.to_json()
        assert Config.from_json(stored) == config


def test_settings_of_another_owner_are_refused() -> None:
    config = default_config("i3ad")
    for name, other in (
        ("training", PcaSettings()),
        ("test", NoSettings()),
        ("data", SsimSettings()),
        ("ssim", DataSettings()),
        ("ssim", config),
        ("scoring", {}),
    ):
        with pytest.raises(SettingError, match=f"^--{name} "):
            dataclasses.replace(config, **{name: other})


def test_a_size_that_the_networks_cannot_take_is_refused_on_construction() -> None:
    for method, size in (("i3ad", 36), ("i3ad", 24), ("f_anogan", 24), ("l2_ae", 20), ("unet", 40)):
        with pytest.raises(
            SettingError, match=f"^--image-size {size}: {method} takes multiples of "
        ):
            default_config(method).with_settings({"image_size": size})
    with pytest.raises(SettingError, match=r"^--patches 33: "):
        default_config("i3ad").with_settings({"image_size": 32, "patches": 33})
    with pytest.raises(SettingError, match=r"^--segmenter-side 8: .*16"):
        default_config("i3ad").with_settings({"segmenter_side": 8, "segmenter_depth": 3})
    with pytest.raises(SettingError, match=r"^--segmenter-depth 5: --segmenter-side, 48, "):
        default_config("i3ad").with_settings({"segmenter_side": 48, "segmenter_depth": 5})


def test_networks_have_the_side_of_a_tile_where_images_are_cut() -> None:
    config = default_config("i3ad").with_settings(
        {"image_size": 96, "tile": 32, "segmenter_depth": 5}
    )
    for view, side in (("whole", 96), ("tiles", 32)):
        assert build(config.with_settings({"view": view})).image_size == side
    with pytest.raises(SettingError, match="i3ad takes multiples of 8 from 32 upwards"):
        config.with_settings({"view": "tiles", "tile": 36})


def test_the_paper_preset_is_the_paper_s() -> None:
    config = default_config("i3ad", preset="paper")
    assert (config.preprocessing.view, config.preprocessing.centre) == ("whole", "none")
    assert config.training.segmenter.segmenter_width == 0
    assert "segmentation" not in build(config).gives


@pytest.mark.parametrize("method", ["i3ad", "aegan"])
def test_the_gpu_preset_has_the_standard_losses_and_the_paper_s_widths(method: str) -> None:
    gpu, standard, paper = (
        default_config(method, preset=name).flat() for name in ("gpu", "standard", "paper")
    )
    sizes = {"image_size", "view", "width", "dilations", "discriminator_width"}
    assert all(gpu[name] == paper[name] for name in {*sizes, "discriminator_depth"})
    changed = {name for name, value in gpu.items() if value != standard[name]} - sizes
    rates = {"generator_learning_rate", "discriminator_learning_rate"}
    assert changed == rates | {
        *("preset", "steps", "batch_size", "discriminator_depth", "context_width", "dtype"),
    }
    assert all(gpu[rate] < standard[rate] for rate in rates)


@pytest.mark.parametrize("method", METHODS)
def test_the_small_paper_preset_is_the_paper_preset_but_for_its_size(method: str) -> None:
    own, paper = (default_config(method, preset=name).flat() for name in ("paper_small", "paper"))
    assert (own.pop("preset"), own["image_size"], paper["image_size"]) == ("paper_small", 128, 256)
    smaller = {name for name, value in own.items() if value != paper[name]}
    sizes = {"image_size", "width", "discriminator_width", "steps", "batch_size"}
    assert smaller <= sizes
    assert all(own[name] < paper[name] for name in smaller)
    assert ("width" in smaller) == ("width" in paper)


def test_settings_of_another_method_are_refused_with_those_that_have_it() -> None:
    with pytest.raises(
        SettingError, match=r"^--critic-steps 3: pca has no such setting; f_anogan has it$"
    ):
        default_config("pca").with_settings({"critic_steps": 3})
    with pytest.raises(SettingError, match=r"^--u 0.3: pca has no such setting; i3ad has it$"):
        default_config("pca").for_test("pca", {"u": 0.3})
    with pytest.raises(SettingError, match=r"^--magic 1: i3ad has no such setting$"):
        default_config("i3ad").with_settings({"magic": 1})


def test_a_test_cannot_change_what_the_weights_depend_on() -> None:
    config = default_config("l2_ae")
    owners = (config.training, config.data, config.preprocessing)
    fixed = {"seed", "preset", "method"}.union(*(owner.flat() for owner in owners))
    for name, value in config.flat().items():
        if name in fixed:
            with pytest.raises(SettingError, match=rf"^{flag(name)}\b.*train a new run"):
                config.for_test("l2_ae", {name: value})
        else:
            assert config.for_test("l2_ae", {name: value}) == config


def test_projections_take_the_settings_of_their_autoencoders_alone() -> None:
    config = default_config("l2_ae").with_settings(
        {"width": 5, "queue_size": 3, "ssim_score": "half"}
    )
    other = config.for_test("l2_ae_projection", {"projection_steps": 7})
    assert other.method == "l2_ae_projection"
    assert (other.training, other.ssim, other.throughput) == (
        config.training,
        config.ssim,
        config.throughput,
    )
    assert other.test.projection_steps == 7
    assert other.for_method("l2_ae") == config
    for method in METHODS:
        if method not in ("l2_ae", "l2_ae_projection"):
            with pytest.raises(SettingError, match=f"^--method {method}: cannot take the weights"):
                config.for_method(method)


def test_equal_settings_are_equal_methods_that_share_compiled_programs() -> None:
    first, second = (
        build(default_config("pca").with_settings({"components": 3})) for _ in range(2)
    )
    assert first is not second
    assert first == second
    assert len({first, second}) == 1
    assert build(default_config("pca").with_settings({"components": 4})) != first


@pytest.mark.parametrize("view", ["tiles", "auto"])
def test_a_tile_that_a_method_cannot_take_is_refused_by_its_own_name(view: str) -> None:
    with pytest.raises(SettingError, match=r"^--tile 60: i3ad takes multiples of 8"):
        default_config("i3ad").with_settings({"view": view, "tile": 60})
    default_config("i3ad").with_settings({"view": "whole", "tile": 60})  # not used


@pytest.mark.parametrize(
    ("method", "preset", "settings"),
    [
        ("i3ad", "standard", {"dtype": "bfloat16"}),
        ("i3ad", "standard", {"ssim_window": "uniform"}),
        ("i3ad", "paper", {"dtype": "bfloat16"}),
        ("aegan", "quick", {"ssim_constants": "printed"}),
        ("ssim_ae", "quick", {"ssim_window": "uniform"}),
    ],
)
def test_a_setting_that_training_uses_is_not_one_of_the_test(
    method: str, preset: str, settings: dict[str, Any]
) -> None:
    config = default_config(method, preset=preset)
    (name,) = settings
    message = f"{flag(name)} .*: the weights depend on it; train a new run"
    with pytest.raises(SettingError, match=message):
        config.for_test(method, settings)
    with pytest.raises(SettingError, match=message):
        config.with_settings(settings).check_weights_of(config)


@pytest.mark.parametrize(
    ("method", "preset", "settings"),
    [
        ("i3ad", "standard", {"patches": 8}),
        ("i3ad", "paper", {"ssim_window": "uniform"}),
        ("i3ad", "standard", {"base": "original", "iterations": 3}),
        ("l2_ae", "quick", {"ssim_window": "uniform"}),
        ("pca", "quick", {"ssim_score": "half"}),
    ],
)
def test_a_setting_that_training_does_not_use_may_change_in_a_test(
    method: str, preset: str, settings: dict[str, Any]
) -> None:
    config = default_config(method, preset=preset)
    changed = config.for_test(method, settings)
    assert changed == config.with_settings(settings)
    changed.check_weights_of(config)


def test_a_projection_has_the_weights_of_its_autoencoder() -> None:
    trained = default_config("ssim_ae")
    trained.for_method("ssim_ae_projection").check_weights_of(trained)
    with pytest.raises(SettingError, match="--ssim-window uniform: the weights depend on it"):
        trained.for_test("ssim_ae_projection", {"ssim_window": "uniform"})


def test_evaluate_refuses_a_setting_that_training_used(
    fails: Fails, tiny_run: Path, tmp_path: Path
) -> None:
    message = fails(evaluate.main, [tiny_run, "--dtype", "bfloat16", "--out", tmp_path / "out"])
    assert message.startswith("error: --dtype bfloat16: the weights depend on it; train a new run")
    assert not (tmp_path / "out").exists()
