"""Operators that move values without changing them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from umseg.common.errors import UserError
from umseg.common.text import by
from umseg.inference.runtimes.graph import Operand, Symbol
from umseg.inference.runtimes.operators.table import Handlers, Place

HANDLERS = Handlers()


@HANDLERS.of(
    "aten.view.default",
    "aten._unsafe_view.default",
    "aten.reshape.default",
    "aten.flatten.using_ints",
    "aten.unflatten.int",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
    "aten.squeeze.default",
    "aten.unsqueeze.default",
)
def reshape(place: Place, x: Symbol, *_: object) -> str:
    """The values in the shape that torch computed, in which one size may follow from the others."""
    return place.add("Reshape", x, place.integers(with_one_unknown(place.shape)))


def with_one_unknown(shape: Sequence[int | None]) -> list[int]:
    """A shape for ONNX, with -1 for the size that depends on the batch.

    Raises:
        UserError: Several sizes depend on it.
    """
    if list(shape).count(None) > 1:
        raise not_converted("it reshapes a tensor to several sizes that depend on the batch", shape)
    return [-1 if size is None else size for size in shape]


def not_converted(reason: str, shape: Sequence[int | None]) -> UserError:
    """The error for an operator that has no form in ONNX here."""
    return UserError(
        f"The network cannot be converted to ONNX: {reason}.",
        found="a tensor of " + by(["batch" if size is None else size for size in shape]),
        remedy="Predict with torch, which is the default.",
    )


@HANDLERS.of("aten.permute.default")
def permute(place: Place, x: Symbol, dims: Sequence[int]) -> str:
    """The axes in another order."""
    return place.add("Transpose", x, perm=[dim % len(x.shape) for dim in dims])


@HANDLERS.of("aten.transpose.int")
def transpose(place: Place, x: Symbol, first: int, second: int) -> str:
    """Two axes exchanged."""
    order = list(range(len(x.shape)))
    order[first], order[second] = order[second], order[first]
    return place.add("Transpose", x, perm=order)


@HANDLERS.of("aten.select.int")
def select(place: Place, x: Symbol, dim: int, index: int) -> str:
    """One position of an axis, which vanishes."""
    return place.add("Squeeze", cut(place, x, dim, index, index + 1 or None), place.integers([dim]))


@HANDLERS.of("aten.slice.Tensor")
def part(place: Place, x: Symbol, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> str:
    """Positions of an axis; nothing where they are all."""
    size = x.shape[dim]
    if not start and step == 1 and (end is None or end >= (sys.maxsize if size is None else size)):
        return x.name
    return cut(place, x, dim, start or 0, end, step)


def cut(place: Place, x: Operand, dim: int, start: int, end: int | None, step: int = 1) -> str:
    """The positions ``start:end:step`` of an axis."""
    stop = sys.maxsize if end is None else end
    return place.add("Slice", x, *(place.integers([value]) for value in (start, stop, dim, step)))


@HANDLERS.of("aten.cat.default")
def concatenate(place: Place, tensors: Sequence[Operand], dim: int = 0) -> str:
    """Tensors one behind the other along an axis."""
    return place.add("Concat", *(place.operand(tensor) for tensor in tensors), axis=dim)


@HANDLERS.of("aten.stack.default")
def stack(place: Place, tensors: Sequence[Operand], dim: int = 0) -> str:
    """Tensors one behind the other along a new axis."""
    new = place.integers([dim])
    return place.add("Concat", *(place.add("Unsqueeze", place.operand(x), new) for x in tensors), axis=dim)


@HANDLERS.of("aten.split.Tensor", "aten.chunk.default")
def split(place: Place, x: Symbol, size: int, dim: int = 0) -> tuple[str, ...]:
    """Parts of an axis, of which torch computed the sizes."""
    sizes = [shape[dim] for shape in place.shapes]
    return place.add_several("Split", len(sizes), x, place.integers([n for n in sizes if n is not None]), axis=dim)


@HANDLERS.of("aten.unbind.int")
def unbind(place: Place, x: Symbol, dim: int = 0) -> tuple[str, ...]:
    """The positions of an axis, each by itself."""
    return tuple(select(place, x, dim, index) for index in range(len(place.shapes)))


@HANDLERS.of("aten.pad.default")
def pad(place: Place, x: Symbol, widths: Sequence[int], mode: str = "constant", value: float | None = None) -> str:
    """Voxels added on both sides; ``widths`` are (before, after) of the last axis, of the last but one, ..."""
    before, after = list(widths[0::2])[::-1], list(widths[1::2])[::-1]
    rest = [0] * (len(x.shape) - len(before))
    sides = place.integers([*rest, *before, *rest, *after])
    kinds = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
    return place.add("Pad", x, sides, place.number(value or 0), mode=kinds[mode])


@HANDLERS.of("aten.roll.default")
def roll(place: Place, x: Symbol, shifts: Sequence[int], dims: Sequence[int] = ()) -> str:
    """The values shifted along axes; what leaves at one end enters at the other."""
    rolled: Operand = x
    for shift, dim in zip(shifts, dims, strict=True):
        parts = cut(place, rolled, dim, -shift, None), cut(place, rolled, dim, 0, -shift)
        rolled = place.add("Concat", *parts, axis=dim)
    return place.name_of(rolled)


@HANDLERS.of("aten.expand.default")
def expand(place: Place, x: Symbol, *_: object) -> str:
    """The values repeated along axes of one; an axis that depends on the batch cannot be made."""
    sizes = dict(zip(range(-1, -len(x.shape) - 1, -1), reversed(x.shape), strict=True))
    if any(place.shape[axis] is None and sizes.get(axis, 1) is not None for axis in range(-len(place.shape), 0)):
        raise not_converted("it repeats a tensor for every image of the batch", place.shape)
    return place.add("Expand", x, place.integers([1 if size is None else size for size in place.shape]))


@HANDLERS.of("aten.flip.default")
def flip(place: Place, x: Symbol, dims: Sequence[int]) -> str:
    """The values of axes in reverse order."""
    ends = [[-1] * len(dims), [-sys.maxsize] * len(dims), list(dims), [-1] * len(dims)]
    return place.add("Slice", x, *(place.integers(values) for values in ends))
