"""Numbers and settings as a page shows them."""

import pytest

from i3ad_jax.report.page import number, setting_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.123456, "0.1235"),
        (12345.6, "12346"),
        (1e11, "100000000000"),
        (1e13, "1e+13"),
        (-0.00000123456, "-1.235e-06"),
    ],
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [("auto", "auto"), (None, "null"), ((2, 4), "[2, 4]"), ("ß", "ß")]
)
def test_settings_are_json_without_quotes(value: object, text: str) -> None:
    assert setting_text(value) == text
