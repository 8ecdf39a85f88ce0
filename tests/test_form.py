"""Forms of JSON values."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from i3ad_jax.runs.form import misfit

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(json_values)
def test_whatever_is_json_is_of_a_form_or_named(value: Any) -> None:
    form = {"a": int, "b": (float, None), ...: {...: str}}
    found = misfit(value, form)
    whole = isinstance(value, dict) and type(value.get("a")) is int and "b" in value
    assert (found is None) <= whole
    assert misfit({"a": 1, "b": None, "more": {"c": "text"}}, form) is None
