"""Settings are checked however they arrive: from flags, from JSON or from Python."""

import copy
import dataclasses
import json
import math
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Fails
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.networks import build
from i3ad_jax.config import PRESETS, Config, default_config
from i3ad_jax.data.load import DataSettings
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.methods import METHODS
from i3ad_jax.methods.method import NoSettings
from i3ad_jax.methods.pca import PcaSettings
from i3ad_jax.scoring.ssim import SsimSettings
from i3ad_jax.settings import SettingError, Settings, flag

CONFIGS = [default_config(method, preset=preset) for method in METHODS for preset in PRESETS]
every_config = pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda config: f"{config.method}-{config.preset}"
)


def parts(settings: Settings) -> Iterator[Settings]:
    """All settings inside settings, these among them."""
    yield settings
    for field in dataclasses.fields(settings):
        if isinstance(value := getattr(settings, field.name), Settings):
            yield from parts(value)


# Every class of settings of the package but Config by an instance.
OWNERS = {
    type(part): part for config in CONFIGS for part in parts(config) if not isinstance(part, Config)
}
FIELDS = [
    (owner, field)
    for owner in (*OWNERS.values(), CONFIGS[0])
    for field in dataclasses.fields(owner)
    if not isinstance(getattr(owner, field.name), Settings)
]
every_setting = pytest.mark.parametrize(
    ("owner", "field"),
    FIELDS,
    ids=[f"{type(owner).__name__}.{field.name}" for owner, field in FIELDS],
)


def kind_of(owner: Settings, field: dataclasses.Field) -> type | None:
    """What kind of number a setting, or each item of it, is; None if it is something else."""
    hint = typing.get_type_hints(type(owner))[field.name]
    return next((kind for kind in (int, float) if kind in (hint, *typing.get_args(hint))), None)


def assert_refused(owner: Settings, name: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        owner.with_settings({name: value})
    message = str(caught.value)
    assert re.match(f"{flag(name)}[ :]", message)
    assert "must be" in message
    assert "\n" not in message


def numbers_in(owner: Settings, name: str, number: float) -> Any:
    """The number as the setting takes it: alone, or in a tuple."""
    return (number,) if isinstance(getattr(owner, name), tuple) else number


@every_setting
def test_bounds_hold_on_both_sides(owner: Settings, field: dataclasses.Field) -> None:
    whole = kind_of(owner, field) is int
    for kind, bound in field.metadata.items():
        outwards = -1 if kind in ("minimum", "above") else 1
        near = int(bound) + outwards if whole else math.nextafter(bound, outwards * math.inf)
        far = int(bound) + outwards * 10**6 if whole else bound + outwards * 1e6
        outside = [near, far] + ([bound] if kind in ("above", "below") else [])
        for number in outside:
            assert_refused(owner, field.name, numbers_in(owner, field.name, number))
        if kind in ("minimum", "maximum"):
            edge = numbers_in(owner, field.name, int(bound) if whole else bound)
            assert getattr(owner.with_settings({field.name: edge}), field.name) == edge


def test_every_number_has_bounds_on_both_sides() -> None:
    # All are counts, sizes, rates, weights, fractions or seeds: of none every value makes sense, and a huge
    # one would end in an overflow, or without memory.
    numbers = [(owner, field) for owner, field in FIELDS if kind_of(owner, field)]
    assert len(numbers) > 30
    for side in ({"minimum", "above"}, {"maximum", "below"}):
        assert [field.name for _, field in numbers if not side & {*field.metadata}] == []


@every_setting
def test_no_setting_is_infinite_or_not_a_number(owner: Settings, field: dataclasses.Field) -> None:
    too_large = [] if kind_of(owner, field) is int else [10**400]  # for a float
    for number in (math.nan, math.inf, -math.inf, *too_large):
        assert_refused(owner, field.name, numbers_in(owner, field.name, number))


@every_setting
def test_a_value_of_another_type_is_refused(owner: Settings, field: dataclasses.Field) -> None:
    value = getattr(owner, field.name)
    # No setting has such a value; none is taken for a number, a name or a list of numbers.
    wrong = [
        {},
        {"a": 1},
        b"1",
        object(),
        [[1]],
        ["1"],
        [True],
        [None],
        "\n",
        np.zeros(2),
        np.bool_(True),
        1j,
    ]
    if not isinstance(value, bool):
        wrong += [True, False]
    if not isinstance(value, tuple):
        wrong += [[1], (1,), []]
    if isinstance(value, int | tuple):
        wrong += [1.0, 1.5, [1.0], "1"]
    for other in wrong:
        if not (isinstance(other, str) and field.name in ("data", "method", "preset")):
            with pytest.raises(SettingError, match=f"^{flag(field.name)}[ :]"):
                owner.with_settings({field.name: other})


def test_numbers_of_numpy_and_whole_floats_become_python_s() -> None:
    config = default_config("unet").with_settings(
        {
            "width": np.int64(4),
            "learning_rate": np.float32(0.5),
            "held_out": np.float64(0.25),
            "adam_beta1": 0,
            "skips": [np.int8(1), 2],
        }
    )
    found = [
        config.flat()[name]
        for name in ("width", "learning_rate", "held_out", "adam_beta1", "skips")
    ]
    assert found == [4, 0.5, 0.25, 0.0, (1, 2)]
    assert [type(value) for value in found] == [int, float, float, float, tuple]
    assert [type(item) for item in found[-1]] == [int, int]
    assert hash(config) == hash(Config.from_json(json.loads(json.dumps(config.to_json()))))


@every_config
def test_settings_survive_json(config: Config) -> None:
    again = Config.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert hash(again) == hash(config)
    assert build(again) == build(config)
    assert hash(build(again)) == hash(build(config))


@every_config
def test_settings_change_by_their_flat_names(config: Config) -> None:
    assert config.with_settings(config.flat()) == config
    assert config.with_settings({}) == config
    other = config.with_settings(
        {"image_size": 64 if config.data.image_size != 64 else 128, "seed": 7}
    )
    assert other != config
    assert {name for name, value in other.flat().items() if value != config.flat()[name]} == {
        "image_size",
        "seed",
    }


def places(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where something stands in nested dicts, from the outside in."""
    for name, value in values.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from places(value, (*path, name))


def put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at a place."""
    changed = copy.deepcopy(values)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_or_unknown_setting_is_refused_by_its_name(method: str) -> None:
    values = default_config(method).to_json()
    for path in places(values):
        missing = copy.deepcopy(values)
        inner = missing
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]
        with pytest.raises(SettingError, match=rf"^{flag(path[-1])}\b.* missing"):
            Config.from_json(missing)
        with pytest.raises(SettingError, match=r"^--surprise .*unknown"):
            Config.from_json(put(values, (*path[:-1], "surprise"), 1))


ILL_TYPED = [
    ("width", "eight"),
    ("width", "8"),
    ("width", True),
    ("width", 8.0),
    ("width", None),
    ("width", [8]),
    ("dtype", "float16"),
    ("dtype", None),
    ("steps", 1e3),
    ("dilations", 2),
    ("dilations", [2, "4"]),
    ("dilations", [2, True]),
    ("adam_beta1", math.nan),
    ("u", "0.3"),
    ("u", math.nan),
    ("shrink", 0),
    ("shrink", "false"),
    ("seed", -1),
    ("data", None),
]


@pytest.mark.parametrize(("name", "value"), ILL_TYPED, ids=str)
def test_an_ill_typed_setting_in_a_run_is_one_line_with_file_and_name(
    fails: Fails, tmp_path: Path, name: str, value: Any
) -> None:
    values = default_config("i3ad").to_json()
    (path,) = (path for path in places(values) if path[-1] == name and path != ("data",))
    (tmp_path / "config.json").write_text(json.dumps(put(values, path, value)))
    message = fails(evaluate.main, [tmp_path])
    assert f"{tmp_path / 'config.json'}: {name} must be " in message


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([*METHODS]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data(), st.sampled_from([*METHODS]), json_values)
def test_whatever_stands_in_config_json_is_a_setting_or_refused(
    data: st.DataObject, method: str, value: Any
) -> None:
    values = default_config(method).to_json()
    changed = put(values, data.draw(st.sampled_from([*places(values)])), value)
    try:
        config = Config.from_json(changed)
    except SettingError:
        return
    again = json.loads(json.dumps(config.to_json()))
    assert Config.from_json(again) == config
    assert again == json.loads(json.dumps(changed))


@given(json_values)
@example({"method": "magic"})
@example({**default_config("pca").to_json(), "method": "magic"})
@example({**default_config("pca").to_json(), "method": "i3ad"})
def test_whatever_is_no_config_is_refused(values: Any) -> None:
    with pytest.raises(SettingError):
        Config.from_json(values)


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
    with pytest.raises(SettingError, match=r"^--segmenter-depth 6: "):
        default_config("i3ad").with_settings({"image_size": 32, "segmenter_depth": 6})


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
            with pytest.raises(SettingError, match=rf"^{flag(name)} .*train a new run"):
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
        ("i3ad", "standard", {"patches": 8}),
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
        ("i3ad", "paper", {"patches": 8}),
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
    message = fails(evaluate.main, [tiny_run, "--patches", "8", "--out", tmp_path / "out"])
    assert message.startswith("error: --patches 8: the weights depend on it; train a new run")
    assert not (tmp_path / "out").exists()
