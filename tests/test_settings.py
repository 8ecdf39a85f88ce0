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
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.networks import build
from i3ad_jax.config import PRESETS, Config, default_config
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.methods import METHODS
from i3ad_jax.settings import SettingError, Settings, flag
from tests.conftest import Fails

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
    """Kind of number of a setting, or of each item of it; None if it is something else."""
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
    # All are counts, sizes, rates, weights, fractions or seeds: of none every value makes sense,
    # and a huge one would end in an overflow, or without memory.
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
    if field.name == "normal_class":  # names, unlike all other lists
        wrong.remove(["1"])
    for other in wrong:
        if not (isinstance(other, str) and field.name in ("data", "method", "preset", "normal")):
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
    """Keys to a value in nested dicts, from the outside in."""
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
