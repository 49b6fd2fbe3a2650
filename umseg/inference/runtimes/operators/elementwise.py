"""Operators that compute every value by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from umseg.inference.runtimes.graph import Operand, Symbol
from umseg.inference.runtimes.operators.table import Handlers, Place

HANDLERS = Handlers()

for _name, _operator in {
    "abs": "Abs",
    "exp": "Exp",
    "neg": "Neg",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
}.items():
    HANDLERS.add_plain(f"aten.{_name}.default", _operator)


@HANDLERS.of("aten.alias.default", "aten.clone.default", "aten.dropout.default")
def identity(place: Place, x: Symbol, *_: Any, **__: Any) -> str:
    """The tensor itself: memory layouts do not exist here, and nothing is dropped in prediction."""
    return x.name


@HANDLERS.of("aten.new_full.default")
def full(place: Place, x: Symbol, size: Sequence[int], value: float, **_: Any) -> Tensor:
    """A constant with one value everywhere."""
    return torch.full(tuple(size), float(value))


@HANDLERS.of("aten.add.Tensor")
def add(place: Place, x: Operand | float, y: Operand | float, alpha: float = 1) -> str:
    """The sum ``x + alpha * y``."""
    y = place.operand(y)
    return place.add("Add", place.operand(x), y if alpha == 1 else place.add("Mul", y, place.number(alpha)))


@HANDLERS.of("aten.sub.Tensor")
def subtract(place: Place, x: Operand | float, y: Operand | float, alpha: float = 1) -> str:
    """The difference ``x - alpha * y``."""
    return add(place, x, y, -alpha)


@HANDLERS.of("aten.rsub.Scalar")
def subtract_from(place: Place, x: Operand, y: float, alpha: float = 1) -> str:
    """The difference ``y - alpha * x``."""
    return subtract(place, y, x, alpha)


@HANDLERS.of("aten.mul.Tensor")
def multiply(place: Place, x: Operand | float, y: Operand | float) -> str:
    """The product, with broadcasting."""
    return place.add("Mul", place.operand(x), place.operand(y))


@HANDLERS.of("aten.div.Tensor")
def divide(place: Place, x: Operand | float, y: Operand | float) -> str:
    """The quotient, with broadcasting."""
    return place.add("Div", place.operand(x), place.operand(y))


@HANDLERS.of("aten.leaky_relu.default")
def leaky_relu(place: Place, x: Symbol, negative_slope: float = 0.01) -> str:
    """Values below zero are multiplied by the slope."""
    return place.add("LeakyRelu", x, alpha=float(negative_slope))


@HANDLERS.of("aten.elu.default")
def elu(place: Place, x: Symbol, alpha: float = 1) -> str:
    """Values below zero become ``alpha * (exp(x) - 1)``."""
    return place.add("Elu", x, alpha=float(alpha))


@HANDLERS.of("aten.prelu.default")
def prelu(place: Place, x: Symbol, weight: Tensor) -> str:
    """Values below zero are multiplied by a slope per channel."""
    return place.add("PRelu", x, weight.reshape(-1, *[1] * (len(x.shape) - 2)))


@HANDLERS.of("aten.silu.default")
def silu(place: Place, x: Symbol | str) -> str:
    """``x * sigmoid(x)``."""
    return place.add("Mul", x, place.add("Sigmoid", x))


@HANDLERS.of("aten.gelu.default")
def gelu(place: Place, x: Symbol, approximate: str = "none") -> str:
    """``x`` times the normal distribution's cumulative probability of ``x``, by the error function or by tanh."""
    half = place.add("Mul", x, place.number(0.5))
    if approximate == "none":
        bent = place.add("Erf", place.add("Mul", x, place.number(math.sqrt(0.5))))
    else:
        cube = place.add("Mul", place.add("Mul", x, x), x)
        inner = place.add("Add", x, place.add("Mul", cube, place.number(0.044715)))
        bent = place.add("Tanh", place.add("Mul", inner, place.number(math.sqrt(2 / math.pi))))
    return place.add("Mul", half, place.add("Add", bent, place.number(1)))


@HANDLERS.of("aten.softmax.int", "aten._softmax.default")
def softmax(place: Place, x: Symbol, dim: int, *_: Any) -> str:
    """The softmax along an axis."""
    return place.add("Softmax", x, axis=dim)
