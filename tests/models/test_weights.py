from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from umseg.common.errors import UserError
from umseg.models.weights import check_weights, misfit

PATH, REMEDY = Path("weights_final.safetensors"), "Train again."
NETWORK = {**nn.Linear(2, 3).state_dict(), "index": torch.arange(4)}


def check(**changed: Tensor) -> None:
    check_weights({**NETWORK, **changed}, NETWORK, PATH, REMEDY)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_floating_weights_are_taken(dtype: torch.dtype) -> None:
    check(weight=torch.ones(3, 2, dtype=dtype))


@pytest.mark.parametrize(
    "weight",
    [
        torch.ones(3, 2, dtype=torch.int8),
        torch.ones(3, 2, dtype=torch.int64),
        torch.ones(3, 2, dtype=torch.bool),
        torch.ones(3, 2, dtype=torch.complex64),
        torch.ones(3, 2, dtype=torch.float8_e5m2),
    ],
    ids=str,
)
def test_other_numbers_are_refused(weight: Tensor) -> None:
    with pytest.raises(UserError, match="cannot be used") as caught:
        check(weight=weight)
    assert "weight: numbers of the type" in str(caught.value.found)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e300])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    bias = torch.zeros(3, dtype=torch.float64)
    bias[1] = value
    with pytest.raises(UserError, match="cannot be used") as caught:
        check(bias=bias)
    assert caught.value.found == "bias: 1 of 3 values are NaN or infinite"
    assert (caught.value.file, caught.value.remedy) == (str(PATH), REMEDY)


def test_a_buffer_of_whole_numbers_keeps_its_type() -> None:
    with pytest.raises(UserError, match="cannot be used") as caught:
        check(index=torch.zeros(4))
    assert (caught.value.found, caught.value.expected) == ("index: numbers of the type float32", "int64")


def test_shapes_are_compared_before_any_value_is_read() -> None:
    with pytest.raises(UserError, match="do not belong to this network") as caught:
        check(weight=torch.ones(1).as_strided((2**20, 2**20), (0, 0)))
    assert (caught.value.found, caught.value.expected) == ("weight of 1048576 x 1048576", "weight of 3 x 2")


def test_differences_in_words() -> None:
    expected = {"a": (3, 2), "b": (), "c": (4,)}
    assert misfit(dict(expected), expected) is None
    assert misfit({"a": (3, 2), "d": ()}, expected) == ("no b, c; unknown d", "3 tensors")
    assert misfit({"a": (3, 2), "b": (1,), "c": ()}, expected) == ("b of 1, c of one number", "b of one number, c of 4")
