# mypy: disable-error-code="no-untyped-call, untyped-decorator"
"""Sixteen float32 lanes as one numba value.

numba vectorises plain loops only when LLVM can prove that no arrays overlap and that the order of sums may change.
A separate vector type needs no such proof: every operation below is one LLVM instruction on ``<16 x float>``, which
LLVM splits into the registers that the processor has (one AVX-512, two AVX or four SSE/NEON registers).

This module imports numba; import it inside the functions that need it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic as _intrinsic
from numba.extending import models, register_model
from numba.np.arrayobj import make_array

from umseg.kernels.runtime.layout import LANES

# numba replaces the Python signature (typing context first) by the one that kernels see, which mypy cannot know.
intrinsic: Any = _intrinsic

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_VECTOR = ir.VectorType(_F32, LANES)
_INTEGERS = ir.VectorType(_I32, LANES)
# This flag lets LLVM fuse a * b + c where the processor can. Nothing else is reordered, so that results do not depend
# on the context.
_FUSE = ("contract",)

# 2^f - 1 on [-1/2, 1/2] without constant term: relative error 9.2e-8 (weighted minimax fit), and 2^0 is exactly 1.
_EXP2 = (0.69314697759733, 0.24022242082675868, 0.055507337448248976, 0.009671512812592016, 0.0013264727213865794)
# atanh(s) / s - 1 in powers of s^2 for s in [0, 1/3]: relative error 4.5e-9.
_ATANH = (0.33333208142341647, 0.2001076365439547, 0.1400090197550803, 0.14005997057344133)
_LOG2_E = 1.4426950408889634
# Adding 1.5 * 2^23 rounds a float32 to the nearest integer and leaves that integer in the low mantissa bits.
_ROUND = 12582912.0


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x16")


vector = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


def _define_operator(function: Callable[..., Any], method: str) -> None:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, method)(*args, flags=_FUSE)

    template = type("Template", (ConcreteTemplate,), {"cases": [signature(vector, vector, vector)]})
    infer_global(function)(template)
    lower_builtin(function, vector, vector)(lower)


for _function, _method in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define_operator(_function, _method)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [ir.Constant(_F32, float(np.float32(value)))] * LANES)


def _horner(builder: Any, x: Any, coefficients: Sequence[float]) -> Any:
    """c[0] + c[1] x + c[2] x^2 + ..."""
    total = _constant(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = builder.fadd(builder.fmul(total, x, flags=_FUSE), _constant(coefficient), flags=_FUSE)
    return total


def _maximum(builder: Any, x: Any, bound: float) -> Any:
    return builder.select(builder.fcmp_ordered(">", x, _constant(bound)), x, _constant(bound))


def _minimum(builder: Any, x: Any, bound: float) -> Any:
    return builder.select(builder.fcmp_ordered("<", x, _constant(bound)), x, _constant(bound))


def _exp2_within(builder: Any, x: Any) -> Any:
    """2^x for -127 <= x <= 128.

    x is split into an integer and a fraction: a polynomial gives the power of the fraction, and the integer is added to
    its exponent bits. Both ends are exact: 2^-127 becomes 0 and 2^128 becomes infinity.
    """
    rounded = builder.fadd(x, _constant(_ROUND))
    fraction = builder.fsub(x, builder.fsub(rounded, _constant(_ROUND)))
    power = _horner(builder, fraction, (1.0, *_EXP2))
    shift = ir.Constant(_INTEGERS, [ir.Constant(_I32, 23)] * LANES)
    exponent = builder.shl(builder.bitcast(rounded, _INTEGERS), shift)
    return builder.bitcast(builder.add(builder.bitcast(power, _INTEGERS), exponent), _VECTOR)


def _exp2(builder: Any, x: Any) -> Any:
    return _exp2_within(builder, _minimum(builder, _maximum(builder, x, -127.0), 128.0))


def _sigmoid(builder: Any, x: Any) -> Any:
    falling = _exp2(builder, builder.fmul(x, _constant(-_LOG2_E)))
    return builder.fdiv(_constant(1.0), builder.fadd(_constant(1.0), falling))


def _softplus(builder: Any, x: Any) -> Any:
    """log(1 + e^x) = max(x, 0) + 2 atanh(w / (2 + w)) with w = e^-|x|: full relative precision for every x."""
    magnitude = _maximum(builder, x, 0.0)
    negative = _minimum(builder, x, 0.0)
    w = _exp2(builder, builder.fmul(builder.fsub(negative, magnitude), _constant(_LOG2_E)))
    s = builder.fdiv(w, builder.fadd(w, _constant(2.0)))
    square = builder.fmul(s, s)
    log = builder.fmul(builder.fadd(s, s), _horner(builder, square, (1.0, *_ATANH)), flags=_FUSE)
    return builder.fadd(magnitude, log, flags=_FUSE)


def _unary(build: Callable[[Any, Any], Any], name: str, doc: str) -> Any:
    def declare(typingctx: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return build(builder, args[0])

        return vector(vector), codegen

    declare.__name__ = name
    declare.__doc__ = doc
    return intrinsic(declare)


exp2 = _unary(_exp2, "exp2", "2^x in every lane, relative error below 2e-7; 0 below -127, infinity from 128 on.")
exp2_within = _unary(
    _exp2_within, "exp2_within", "``exp2`` for lanes between -127 and 128; elsewhere the result is undefined."
)
sigmoid = _unary(_sigmoid, "sigmoid", "1 / (1 + e^-x) in every lane.")
softplus = _unary(_softplus, "softplus", "log(1 + e^x) in every lane.")


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, in_bytes: bool, pointee: Any) -> Any:
    data = make_array(array_type)(context, builder, value=array).data
    if in_bytes:
        data = builder.bitcast(data, ir.IntType(8).as_pointer())
    return builder.bitcast(builder.gep(data, [offset]), pointee.as_pointer())


def _read(builder: Any, pointer: Any) -> Any:
    value = builder.load(pointer)
    value.align = 4
    return value


def _write(builder: Any, value: Any, pointer: Any) -> None:
    builder.store(value, pointer).align = 4


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """The lanes array[index : index + 16] of a contiguous array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _read(builder, _pointer(context, builder, sig.args[0], args[0], args[1], False, _VECTOR))

    return vector(array, types.intp), codegen


@intrinsic
def load_bytes(typingctx: Any, array: Any, offset: Any) -> Any:
    """The sixteen neighbours in memory that begin ``offset`` bytes after the first element of any array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _read(builder, _pointer(context, builder, sig.args[0], args[0], args[1], True, _VECTOR))

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index : index + 16] = lanes, for a contiguous array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _write(builder, args[2], _pointer(context, builder, sig.args[0], args[0], args[1], False, _VECTOR))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def store_bytes(typingctx: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write sixteen neighbours in memory, beginning ``offset`` bytes after the first element of any array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _write(builder, args[2], _pointer(context, builder, sig.args[0], args[0], args[1], True, _VECTOR))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def prefetch(typingctx: Any, array: Any, offset: Any) -> Any:
    """Request the cache line ``offset`` bytes after the first element of any array; invalid addresses do not fail."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = ir.IntType(8)
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], True, byte)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        # The three numbers mean: for reading, into the first-level cache, data rather than instructions.
        builder.call(function, [pointer, *(ir.Constant(_I32, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def _splat(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_INTEGERS, None))


@intrinsic
def broadcast(typingctx: Any, array: Any, index: Any) -> Any:
    """The number array[index] of a contiguous array in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, builder.load(_pointer(context, builder, sig.args[0], args[0], args[1], False, _F32)))

    return vector(array, types.intp), codegen


@intrinsic
def absolute_maximum(typingctx: Any, x: Any, y: Any) -> Any:
    """max(x, |y|) in every lane; NaN in ``y`` is skipped."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, y = args
        sign = ir.Constant(_INTEGERS, [ir.Constant(_I32, 0x7FFFFFFF)] * LANES)
        size = builder.bitcast(builder.and_(builder.bitcast(y, _INTEGERS), sign), _VECTOR)
        return builder.select(builder.fcmp_ordered(">", size, x), size, x)

    return vector(vector, vector), codegen


@intrinsic
def largest(typingctx: Any, x: Any) -> Any:
    """The largest lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (x,) = args
        for step in (8, 4, 2, 1):
            other = _shuffle(builder, x, x, [lane ^ step for lane in range(LANES)])
            x = builder.select(builder.fcmp_ordered(">", other, x), other, x)
        return builder.extract_element(x, ir.Constant(_I32, 0))

    return types.float32(vector), codegen


@intrinsic
def total(typingctx: Any, x: Any) -> Any:
    """The sum of all lanes, by halves."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (x,) = args
        for step in (8, 4, 2, 1):
            x = builder.fadd(x, _shuffle(builder, x, x, [lane ^ step for lane in range(LANES)]))
        return builder.extract_element(x, ir.Constant(_I32, 0))

    return types.float32(vector), codegen


@intrinsic
def zero(typingctx: Any) -> Any:
    """Zero in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _constant(0.0)

    return vector(), codegen


@intrinsic
def one(typingctx: Any) -> Any:
    """One in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _constant(1.0)

    return vector(), codegen


@intrinsic
def ln_2(typingctx: Any) -> Any:
    """The natural logarithm of two in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _constant(0.6931471805599453)

    return vector(), codegen


def _shuffle(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_I32, len(lanes)), [ir.Constant(_I32, lane) for lane in lanes])
    return builder.shuffle_vector(a, b, mask)


def _interleave(builder: Any, a: Any, b: Any, step: int) -> tuple[Any, Any]:
    """Exchange the upper half of every 2*step lanes of ``a`` with the lower half of those of ``b``, to transpose."""
    low = [j if not j & step else LANES + j - step for j in range(LANES)]
    high = [j + step if not j & step else LANES + j for j in range(LANES)]
    return _shuffle(builder, a, b, low), _shuffle(builder, a, b, high)


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    for step in (8, 4, 2, 1):
        for i in range(LANES):
            if not i & step:
                rows[i], rows[i + step] = _interleave(builder, rows[i], rows[i + step], step)
    return rows


@intrinsic
def load_transposed(typingctx: Any, source: Any, offset: Any, pitch: Any, target: Any, index: Any, stride: Any) -> Any:
    """Read 16 rows of 16 neighbours, ``pitch`` bytes apart, and write the 16 columns, ``stride`` elements apart."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, offset, pitch, target, index, stride = args
        rows = []
        for _ in range(LANES):
            rows.append(_read(builder, _pointer(context, builder, sig.args[0], source, offset, True, _VECTOR)))
            offset = builder.add(offset, pitch)
        for column in _transposed(builder, rows):
            _write(builder, column, _pointer(context, builder, sig.args[3], target, index, False, _VECTOR))
            index = builder.add(index, stride)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), codegen


@intrinsic
def store_transposed(typingctx: Any, source: Any, index: Any, target: Any, offset: Any, pitch: Any) -> Any:
    """Read 16 columns of 16 lanes from a contiguous array and write the 16 rows, ``pitch`` bytes apart."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, index, target, offset, pitch = args
        columns = []
        for _ in range(LANES):
            columns.append(_read(builder, _pointer(context, builder, sig.args[0], source, index, False, _VECTOR)))
            index = builder.add(index, ir.Constant(index.type, LANES))
        for row in _transposed(builder, columns):
            _write(builder, row, _pointer(context, builder, sig.args[2], target, offset, True, _VECTOR))
            offset = builder.add(offset, pitch)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp, types.intp), codegen


@intrinsic
def fold4(typingctx: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Partial sums over the lanes of four vectors; lane 4 g + k holds the sum of lanes 4 g .. 4 g + 3 of vector k."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b, c, d = args
        ab = builder.fadd(*_interleave(builder, a, b, 1))
        cd = builder.fadd(*_interleave(builder, c, d, 1))
        return builder.fadd(*_interleave(builder, ab, cd, 2))

    return vector(vector, vector, vector, vector), codegen


@intrinsic
def store_fold(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Add the four groups of four lanes and write the four sums to array[index : index + 4] (see ``fold4``)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        groups = [_shuffle(builder, args[2], args[2], range(4 * g, 4 * g + 4)) for g in range(4)]
        total = builder.fadd(builder.fadd(groups[0], groups[1]), builder.fadd(groups[2], groups[3]))
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], False, ir.VectorType(_F32, 4))
        _write(builder, total, pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen
