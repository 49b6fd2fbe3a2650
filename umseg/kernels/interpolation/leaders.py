# mypy: disable-error-code="no-untyped-call, untyped-decorator"
"""The largest and the second largest of many numbers, as numba operations on vectors.

LLVM does not vectorise a search for the place of a maximum by itself; these operations are five to twenty times faster.

This module imports numba; import it inside the functions that need it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic as _intrinsic
from numba.np.arrayobj import make_array

from umseg.kernels.runtime.layout import LANES
from umseg.kernels.runtime.simd import vector

# numba replaces the Python signature (typing context first) by the one that kernels see, which mypy cannot know.
intrinsic: Any = _intrinsic

_F32, _I32 = ir.FloatType(), ir.IntType(32)
_VECTOR, _INTEGERS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_NOTHING = ir.Constant(_VECTOR, [ir.Constant(_F32, float("-inf"))] * LANES)
_LANE = ir.Constant(_INTEGERS, [ir.Constant(_I32, lane) for lane in range(LANES)])

_State = tuple[Any, Any, Any]
"""Largest value, second largest value and place of the largest, each a vector or a number of LLVM."""


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _smaller(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _splat(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_INTEGERS, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, ir.Constant(_INTEGERS, ir.Undefined), ir.Constant(_INTEGERS, None))


def _with_values(builder: Any, state: _State, values: Any, places: Any) -> _State:
    """The state after further values, whose places are higher; of equal values the first stays."""
    best, second, place = state
    better = builder.fcmp_ordered(">", values, best)
    second = _larger(builder, second, _smaller(builder, values, best))
    return builder.select(better, values, best), second, builder.select(better, places, place)


def _of_all_lanes(builder: Any, state: _State) -> _State:
    """The state of all lanes together; of equal values that at the lowest place counts."""
    best, second, place = state
    width = LANES
    while width > 1:
        width //= 2
        kind = ir.VectorType(_I32, width)
        halves = [ir.Constant(kind, [ir.Constant(_I32, start + lane) for lane in range(width)]) for start in (0, width)]
        (b0, b1), (s0, s1), (p0, p1) = (
            [builder.shuffle_vector(value, value, half) for half in halves] for value in (best, second, place)
        )
        level = builder.and_(builder.fcmp_ordered("==", b1, b0), builder.icmp_signed("<", p1, p0))
        take = builder.or_(builder.fcmp_ordered(">", b1, b0), level)
        second = _larger(builder, _smaller(builder, b0, b1), _larger(builder, s0, s1))
        best, place = builder.select(take, b1, b0), builder.select(take, p1, p0)
    best, second, place = (builder.extract_element(value, ir.Constant(_I32, 0)) for value in (best, second, place))
    return best, second, place


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, pointee: Any) -> Any:
    data = make_array(array_type)(context, builder, value=array).data
    return builder.bitcast(builder.gep(data, [index]), pointee.as_pointer())


@intrinsic
def leader(typingctx: Any, flat: Any, first: Any, count: Any) -> Any:
    """The largest and the second largest of flat[first : first + count], and the first place of the largest.

    Values are read in groups of sixteen: the array must reach to the end of the last group. Equal values are both
    counted, so that the second largest then equals the largest.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = args[2]
        whole = builder.and_(count, ir.Constant(count.type, -LANES))
        memory = [cgutils.alloca_once_value(builder, value) for value in (_NOTHING, _NOTHING, _LANE)]

        def read(place: Any) -> Any:
            index = builder.add(args[1], place)
            return builder.load(_pointer(context, builder, sig.args[0], args[0], index, _VECTOR), align=4)

        def step(place: Any, values: Any) -> None:
            best, second, old = (builder.load(pointer) for pointer in memory)
            places = builder.add(_splat(builder, builder.trunc(place, _I32)), _LANE)
            for value, pointer in zip(_with_values(builder, (best, second, old), values, places), memory, strict=True):
                builder.store(value, pointer)

        with cgutils.for_range_slice(builder, count.type(0), whole, count.type(LANES), count.type) as (place, _):
            step(place, read(place))
        rest = builder.sub(count, whole)
        with builder.if_then(builder.icmp_signed(">", rest, rest.type(0))):
            inside = builder.icmp_signed("<", _LANE, _splat(builder, builder.trunc(rest, _I32)))
            step(whole, builder.select(inside, read(whole), _NOTHING))
        best, second, place = (builder.load(pointer) for pointer in memory)
        return context.make_tuple(builder, sig.return_type, _of_all_lanes(builder, (best, second, place)))

    result = types.Tuple((types.float32, types.float32, types.int32))
    return result(flat, types.intp, types.intp), codegen


@intrinsic
def lead_columns(typingctx: Any, columns: Any, count: Any, place: Any, best: Any, second: Any, places: Any) -> Any:
    """Go on with the search of sixteen maxima at once, through ``count`` columns of sixteen values.

    Args:
        columns: Contiguous float32 array; each sixteen values of it are a column.
        place: The place of the first column's values.
        best, second, places: Arrays of sixteen: the state of each search before and afterwards.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = args[1].type(0)
        arrays = list(zip(sig.args[3:], args[3:], (_VECTOR, _VECTOR, _INTEGERS), strict=True))
        pointers = [_pointer(context, builder, kind, array, zero, pointee) for kind, array, pointee in arrays]
        memory = [cgutils.alloca_once_value(builder, builder.load(pointer, align=4)) for pointer in pointers]
        with cgutils.for_range(builder, args[1], intp=args[1].type) as loop:
            index = builder.mul(loop.index, args[1].type(LANES))
            values = builder.load(_pointer(context, builder, sig.args[0], args[0], index, _VECTOR), align=4)
            here = _splat(builder, builder.trunc(builder.add(args[2], loop.index), _I32))
            state = tuple(builder.load(pointer) for pointer in memory)
            for value, pointer in zip(_with_values(builder, state, values, here), memory, strict=True):
                builder.store(value, pointer)
        for source, target in zip(memory, pointers, strict=True):
            builder.store(builder.load(source), target, align=4)
        return context.get_dummy_value()

    return types.void(columns, types.intp, types.intp, best, second, places), codegen


@intrinsic
def larger(typingctx: Any, x: Any, y: Any) -> Any:
    """The larger of two values in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _larger(builder, *args)

    return vector(vector, vector), codegen


@intrinsic
def lanes_from(typingctx: Any, x: Any, limit: Any) -> Any:
    """A number whose bit i is set where lane i is at least ``limit``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, limit = args
        single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), limit, ir.Constant(_I32, 0))
        limits = builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_INTEGERS, None))
        reached = builder.fcmp_ordered(">=", x, limits)
        return builder.zext(builder.bitcast(reached, ir.IntType(LANES)), ir.IntType(64))

    return types.int64(vector, types.float32), codegen
