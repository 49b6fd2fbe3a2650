"""The two operators of a Mamba block: the causal convolution, and the selective scan.

The scan is a loop over tokens, ONNX's ``Scan``, and every step of that loop costs some microseconds whatever it does. A
long sequence is therefore cut into about as many chunks as each has tokens, which are scanned together: first from zero
to find the state that each chunk adds, then over the chunks to find the state at the start of each, then from there.
"""

from __future__ import annotations

import math

import torch
from onnx import GraphProto, TensorProto, ValueInfoProto, helper
from torch import Tensor

from umseg.inference.runtimes.graph import GraphBuilder, Operand, Symbol
from umseg.inference.runtimes.operators.convolution import convolution
from umseg.inference.runtimes.operators.elementwise import silu
from umseg.inference.runtimes.operators.layout import cut
from umseg.inference.runtimes.operators.table import Handlers, Place

HANDLERS = Handlers()

_SHORT = 64
"""Number of tokens up to which one loop over all of them is used."""


@HANDLERS.of("umseg.causal_conv1d_silu_cpu.default")
def causal_convolution(place: Place, x: Symbol, weights: Tensor) -> str:
    """The depthwise convolution with zeros before the first token, and SiLU; the last weight is the bias."""
    channels, width = weights.shape[0], weights.shape[1] - 1
    padded = place.add("Pad", x, place.integers([0, 0, width - 1, 0, 0, 0]))
    return silu(place, convolution(place, padded, weights[:, None, :-1], weights[:, -1], groups=channels))


@HANDLERS.of("umseg.selective_scan_cpu.default")
def selective_scan(
    place: Place,
    u: Symbol,
    delta: Operand,
    A: Tensor,
    B: Symbol,
    C: Symbol,
    D: Tensor | None,
    z: Symbol | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    keep: bool,
) -> tuple[str, None]:
    """The scan of ``umseg.kernels.scan``; the states for the backward pass are left out."""
    if delta_bias is not None:
        delta = place.add("Add", delta, delta_bias[:, None])
    if delta_softplus:
        delta = place.add("Softplus", delta)
    out = _scanned(place, u, delta, A, B, C)
    if D is not None:
        out = place.add("Add", out, place.add("Mul", u, D[:, None]))
    return (out if z is None else place.add("Mul", out, silu(place, z))), None


def _scanned(place: Place, u: Symbol, delta: Operand, A: Tensor, B: Symbol, C: Symbol) -> str:
    """<C_t, h_t> with h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t."""
    length = u.shape[2]
    assert length is not None
    chunks = 1 if length <= _SHORT else math.isqrt(length)
    steps = math.ceil(length / chunks)
    channels, states = A.shape
    cut_up = _Chunks(place, length, chunks, steps)
    delta_, u_ = cut_up.apart(delta, channels), cut_up.apart(place.add("Mul", delta, u), channels)
    B_, C_ = cut_up.apart(B, states), cut_up.apart(C, states)
    # Made from the data, because the size of the batch is not known before.
    first = place.add("Squeeze", cut(place, delta_, 0, 0, 1), place.integers([0]))
    start = zero = place.add("Mul", place.add("Unsqueeze", first, place.integers([-1])), torch.zeros(states))
    if chunks > 1:
        body = _body(place, A, with_output=False)
        added = place.add("Scan", zero, delta_, u_, B_, body=body, num_scan_inputs=3)
        start = _starts(place, delta_, A, added, zero)
    body = _body(place, A, with_output=True)
    _, y = place.add_several("Scan", 2, start, delta_, u_, B_, C_, body=body, num_scan_inputs=4)
    return cut_up.together(y, channels)


class _Chunks:
    """The division of sequences into chunks of equal length, with zeros behind the last token."""

    def __init__(self, place: Place, length: int, chunks: int, steps: int) -> None:
        self.place, self.length, self.chunks, self.steps = place, length, chunks, steps
        self.missing = chunks * steps - length

    def apart(self, x: Operand, rows: int) -> str:
        """(batch, rows, length) to (steps, batch, chunks, rows)."""
        place = self.place
        if self.missing:
            x = place.add("Pad", x, place.integers([0, 0, 0, 0, 0, self.missing]))
        x = place.add("Reshape", x, place.integers([0, rows, self.chunks, self.steps]))
        return place.add("Transpose", x, perm=[3, 0, 2, 1])

    def together(self, x: Operand, rows: int) -> str:
        """(steps, batch, chunks, rows) to (batch, rows, length)."""
        place = self.place
        x = place.add("Transpose", x, perm=[1, 3, 2, 0])
        x = place.add("Reshape", x, place.integers([0, rows, self.chunks * self.steps]))
        return cut(place, x, 2, 0, self.length) if self.missing else place.name_of(x)


def _body(place: Place, A: Tensor, *, with_output: bool) -> GraphProto:
    """One step: the state (batch, chunks, channels, states), then (batch, chunks, .) of delta, delta u, B and C."""
    body = GraphBuilder(place)
    names = ["state", "delta", "input", "to_state", *(["to_output"] if with_output else [])]
    state, delta, added, B, *rest = (body.unused(name) for name in names)
    last, middle = place.integers([-1]), place.integers([-2])
    decay = body.add("Exp", body.add("Mul", body.add("Unsqueeze", delta, last), A))
    new = body.add("Mul", body.add("Unsqueeze", added, last), body.add("Unsqueeze", B, middle))
    following = body.add("Add", body.add("Mul", decay, state), new)
    outputs = [following]
    for C in rest:
        product = body.add("MatMul", following, body.add("Unsqueeze", C, last))
        outputs.append(body.add("Squeeze", product, last))
    return _graph(body, [state, delta, added, B, *rest], outputs)


def _starts(place: Place, delta: str, A: Tensor, added: str, zero: str) -> str:
    """The state at the start of every chunk, from what each adds to the state: (batch, chunks, channels, states)."""
    total = place.add("ReduceSum", delta, place.integers([0]), keepdims=0)
    decay = place.add("Exp", place.add("Mul", place.add("Unsqueeze", total, place.integers([-1])), A))
    body = GraphBuilder(place)
    state, by, more = (body.unused(name) for name in ("state", "decay", "added"))
    following = body.add("Add", body.add("Mul", by, state), more)
    graph = _graph(body, [state, by, more], [following, body.add("Identity", state)])
    first = place.add("Squeeze", cut(place, zero, 1, 0, 1), place.integers([1]))
    _, starts = place.add_several(
        "Scan",
        2,
        first,
        decay,
        added,
        body=graph,
        num_scan_inputs=2,
        scan_input_axes=[1, 1],
        scan_output_axes=[1],
    )
    return starts


def _graph(body: GraphBuilder, inputs: list[str], outputs: list[str]) -> GraphProto:
    def described(name: str) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)

    return helper.make_graph(
        body.nodes, body.unused("body"), [described(name) for name in inputs], [described(name) for name in outputs]
    )
