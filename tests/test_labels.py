"""Labels of classes."""

import pytest

from i3ad_jax.data.labels import defect_class


@pytest.mark.parametrize("label", ["good", "Good", "OK", "ok", "normal", "Normal ", "pass", "0"])
def test_the_usual_names_of_normal_images_are_normal(label: str) -> None:
    assert defect_class(label) == "good"


@pytest.mark.parametrize("label", ["crack", "ko", "goods", "not ok", "1", "bad", "abnormal"])
def test_other_names_are_classes_of_defects(label: str) -> None:
    assert defect_class(label) == label


def test_names_of_the_user_are_normal_too() -> None:
    assert defect_class("gut", normal=("gut",)) == "good"
    assert defect_class("schlecht", normal=("gut",)) == "schlecht"
