"""Products of matrices, and attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from umseg.inference.runtimes.graph import Operand, Symbol
from umseg.inference.runtimes.operators.layout import not_converted, transpose
from umseg.inference.runtimes.operators.table import Handlers, Place

HANDLERS = Handlers()


@HANDLERS.of("aten.matmul.default", "aten.mm.default", "aten.bmm.default")
def matmul(place: Place, x: Operand, y: Operand) -> str:
    """The product of the last two axes."""
    return place.add("MatMul", x, y)


@HANDLERS.of("aten.linear.default")
def linear(place: Place, x: Operand, weight: Tensor, bias: Tensor | None = None) -> str:
    """The last axis times the weights (out, in), plus the bias."""
    out = place.add("MatMul", x, weight.t())
    return out if bias is None else place.add("Add", out, bias)


@HANDLERS.of("aten.einsum.default")
def einsum(place: Place, equation: str, tensors: Sequence[Operand], *_: object, **__: object) -> str:
    """A sum of products over named axes."""
    return place.add("Einsum", *tensors, equation=equation)


@HANDLERS.of("aten.scaled_dot_product_attention.default")
def attention(
    place: Place,
    query: Symbol,
    key: Symbol,
    value: Symbol,
    mask: Operand = None,
    dropout: float = 0,
    is_causal: bool = False,
    scale: float | None = None,
) -> str:
    """Softmax attention; a mask is added to the products."""
    width = query.shape[-1]
    if is_causal or width is None:
        raise not_converted("its attention is causal", query.shape)
    factor = place.number(1 / math.sqrt(width) if scale is None else scale)
    scores = place.add("MatMul", place.add("Mul", query, factor), transpose(place, key, -1, -2))
    if mask is not None:
        scores = place.add("Add", scores, mask)
    return place.add("MatMul", place.add("Softmax", scores, axis=-1), value)
