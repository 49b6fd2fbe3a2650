"""Checks of weights before a network takes them over: names, shapes, types and finite values, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from umseg.common.errors import UserError
from umseg.common.text import by, few

_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def misfit(found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]]) -> tuple[str, str] | None:
    """How the names and shapes of weights differ from those of a network, in words; None if they are the same.

    Args:
        found: Shape of each tensor that is to be loaded, by name.
        expected: Shape of each tensor of the network, by name.

    Returns:
        What was found and what was expected.
    """
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    if missing or unknown:
        absent = [f"no {few(missing, 3)}"] if missing else []
        return "; ".join([*absent, *([f"unknown {few(unknown, 3)}"] if unknown else [])]), f"{len(expected)} tensors"
    other = [name for name, shape in expected.items() if tuple(found[name]) != tuple(shape)]
    if not other:
        return None
    return _sizes(other, found), _sizes(other, expected)


def check_weights(weights: Mapping[str, Tensor], network: Mapping[str, Tensor], path: Path, remedy: str) -> None:
    """Refuse weights that a network would take over although they are none.

    Weights of another shape, integers in place of fractions, and values that are not finite as the network's type
    (float64 may exceed float32) are refused. Shapes are compared first, because a tensor of a file may claim any size.

    Args:
        weights: Tensors to be loaded, by name.
        network: The network's state (``state_dict``).
        path: File of the weights.
        remedy: What the user can do.

    Raises:
        UserError: The weights do not belong to the network, or cannot be used.
    """
    check_shapes({name: tensor.shape for name, tensor in weights.items()}, network, path, remedy)
    for name, tensor in weights.items():
        if obstacle := unusable(tensor, network[name].dtype):
            raise UserError(
                f"The weights in {path.name} cannot be used.",
                file=path,
                found=f"{name}: {obstacle}",
                expected="finite numbers" if network[name].dtype.is_floating_point else _dtype(network[name].dtype),
                remedy=remedy,
            )


def check_shapes(found: Mapping[str, Sequence[int]], network: Mapping[str, Tensor], path: Path, remedy: str) -> None:
    """Refuse weights whose names or shapes are not the network's.

    Raises:
        UserError: The weights do not belong to the network.
    """
    difference = misfit(found, {name: tensor.shape for name, tensor in network.items()})
    if difference is not None:
        raise UserError(
            f"The weights in {path.name} do not belong to this network.",
            file=path,
            found=difference[0],
            expected=difference[1],
            remedy=remedy,
        )


def unusable(tensor: Tensor, dtype: torch.dtype) -> str | None:
    """Why a tensor cannot become one of this type in a network, in words; None if it can."""
    if not dtype.is_floating_point:
        # A buffer that counts or indexes.
        return None if tensor.dtype == dtype else f"numbers of the type {_dtype(tensor.dtype)}"
    if tensor.dtype not in _FLOATS:
        return f"numbers of the type {_dtype(tensor.dtype)}"
    finite = torch.isfinite(tensor.to(dtype))
    if finite.all():
        return None
    return f"{finite.numel() - int(finite.sum())} of {finite.numel()} values are NaN or infinite"


def _sizes(names: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> str:
    return few((f"{name} of {by(shapes[name]) or 'one number'}" for name in names), 3)


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
