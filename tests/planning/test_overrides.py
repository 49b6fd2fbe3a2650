from __future__ import annotations

import math
from typing import Any

import pytest

from umseg.common.errors import UserError
from umseg.planning.overrides import Overrides


def test_typed_numbers_are_read() -> None:
    assert Overrides.parse("2.5,0.8, 1", "64,128,96", 4) == Overrides((2.5, 0.8, 1.0), (64, 128, 96), 4)
    assert Overrides.parse(None, None, None) == Overrides()


@pytest.mark.parametrize(
    ("spacing", "patch_size", "named"),
    [
        ("1,1", None, "spacing"),
        ("1,one,1", None, "spacing"),
        (None, "64,1.5,64", "patch size"),
        (None, "", "patch size"),
    ],
)
def test_what_is_no_such_number_is_refused(spacing: str | None, patch_size: str | None, named: str) -> None:
    with pytest.raises(UserError, match=f"The {named} is not valid") as raised:
        Overrides.parse(spacing, patch_size, None)
    assert "e.g." in str(raised.value.expected)


@pytest.mark.parametrize(
    "wrong",
    [{"spacing": (1.0, 0.0, 1.0)}, {"spacing": (1.0, math.nan, 1.0)}, {"patch_size": (64,)}, {"batch_size": 0}],
)
def test_values_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is not valid"):
        Overrides(**wrong)


def test_axes_follow_the_plan() -> None:
    turned = Overrides(spacing=(1.0, 2.0, 3.0), patch_size=(10, 20, 30)).permuted((2, 0, 1))
    assert turned == Overrides(spacing=(3.0, 1.0, 2.0), patch_size=(30, 10, 20))
    assert Overrides(patch_size=(10, 20)).permuted((2, 0, 1)).patch(2) == (10, 20)
    assert turned.patch(2) is None
