from __future__ import annotations

import numpy as np
import pytest

from tests.inference.outputs.segmented import describe
from umseg.common.errors import UserError
from umseg.inference.outputs.class_choice import choose_classes

PLAIN = describe({"background": 0, "liver": 1, "spleen": 2, "vein, portal": 3, "ignore": 4})
NESTED = describe({"background": 0, "whole": (1, 2, 3), "core": (2, 3), "active": (3,)}, regions_class_order=(1, 2, 3))
LABEL_MAP = np.array([[[0, 1, 2, 3]], [[3, 2, 1, 0]]], np.uint8)


@pytest.mark.parametrize(
    ("text", "names", "kept"),
    [
        ("liver", ("liver",), [0, 1, 0, 0]),
        ("spleen, liver", ("liver", "spleen"), [0, 1, 2, 0]),
        ("3", ("vein, portal",), [0, 0, 0, 3]),
        ("vein, portal,2", ("spleen", "vein, portal"), [0, 0, 2, 3]),
        ("vein,portal,liver,liver,1,", ("liver", "vein, portal"), [0, 1, 0, 3]),
    ],
)
def test_the_other_classes_become_background(text: str, names: tuple[str, ...], kept: list[int]) -> None:
    choice = choose_classes(text, PLAIN)
    assert choice.names == names
    before = LABEL_MAP.copy()
    result = choice.apply(LABEL_MAP)
    assert result.dtype == np.uint8
    assert result.tolist() == [[kept], [kept[::-1]]]
    np.testing.assert_array_equal(LABEL_MAP, before)


def test_all_values_of_a_region_are_kept() -> None:
    assert choose_classes("core", NESTED).apply(LABEL_MAP)[0, 0].tolist() == [0, 0, 2, 3]
    assert choose_classes("2", NESTED) == choose_classes("core", NESTED)
    assert choose_classes("active,whole", NESTED).names == ("whole", "active")


def test_a_name_is_taken_before_a_value() -> None:
    numbered = describe({"background": 0, "2": 1, "1": 2})
    assert choose_classes("1", numbered).values == (2,)


def test_a_label_map_without_the_chosen_class_is_empty() -> None:
    assert not choose_classes("vein, portal", PLAIN).apply(np.ones((2, 2, 2), np.int16)).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("livr", "Did you mean 'liver'?"),
        ("liver,Spleen", "Did you mean 'spleen'?"),
        ("liver,9", "Unknown class '9'"),
        ("background", "Unknown class 'background'"),
        ("0", "Unknown class '0'"),
        ("ignore", "Unknown class 'ignore'"),
        ("4", "Unknown class '4'"),
        (" , ", "--classes names no class"),
    ],
)
def test_what_is_no_class_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        choose_classes(text, PLAIN)
    assert message in str(caught.value)


def test_objects_of_one_kind_have_no_classes_to_choose() -> None:
    with pytest.raises(UserError, match="cannot be used with this model"):
        choose_classes("nucleus", describe({"background": 0, "nucleus": 1}, task="instance"))
