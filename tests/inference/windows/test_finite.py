from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.inference.windows.reference import CPU, image
from umseg.common.errors import UserError
from umseg.inference.windows.finite import FiniteCheck


def innermost(classes: list[Tensor]) -> Tensor:
    return torch.stack(classes, dim=-1).permute(3, 0, 1, 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_logits_that_are_not_finite_are_refused(value: float, precision: torch.dtype) -> None:
    check = FiniteCheck(precision, CPU)
    check.look(innermost([image((4, 5, 6)), image((4, 5, 6), 1)]))
    check.end()
    wrong = image((4, 5, 6))
    wrong[1, 2, 3] = value
    with pytest.raises(UserError, match="output is not finite") as caught:
        check.look(innermost([image((4, 5, 6)), wrong]))
    assert str(caught.value.found).startswith("output 1 of 2")
    assert ("--precision fp32" in str(caught.value.remedy)) == (precision == torch.float16)


def test_large_logits_are_finite() -> None:
    check = FiniteCheck(torch.float32, CPU)
    check.look(torch.full((2, 40, 40, 40), 3e38))
    check.end()


def test_nothing_waits_for_another_device_before_the_end() -> None:
    check = FiniteCheck(torch.bfloat16, torch.device("cpu:0"))
    fine, wrong = image((4, 5, 6)), image((4, 5, 6))
    wrong[0, 0, 0] = float("inf")
    check.look(innermost([fine, wrong, fine]))
    check.look(innermost([wrong, fine, fine]))
    with pytest.raises(UserError, match="output is not finite") as caught:
        check.end()
    assert str(caught.value.found).startswith("output 0, 1 of 3")
    check = FiniteCheck(torch.bfloat16, torch.device("cpu:0"))
    check.look(innermost([fine, fine]))
    check.end()
