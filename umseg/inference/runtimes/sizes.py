"""The sizes of all tensors of a network, found from its graph before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

BYTES: dict[int, int] = {TensorProto.FLOAT: 4, TensorProto.INT64: 8}
"""Bytes of a number, for the types that umseg writes."""

_FEW_VALUES = 64
"""Number of values up to which a constant is one that sizes depend on."""
_NAMES = (
    "Abs Add Div Elu Erf Exp Identity LeakyRelu Mul Neg PRelu Relu Reshape Sigmoid Softplus Sqrt Squeeze Tanh Unsqueeze"
)
_IN_PLACE = frozenset(_NAMES.split())
"""Operators that may write over an input that nothing else needs, or that move no values."""


class UnknownSizeError(ValueError):
    """A size does not follow from the graph, or operators do not fit together."""


@dataclass(frozen=True)
class Sizes:
    """What one image needs.

    Attributes:
        largest: Bytes of the largest tensor.
        peak: Bytes of all tensors that are alive at once.
    """

    largest: int
    peak: int


def sizes_of(model: ModelProto) -> Sizes:
    """The sizes of a network's tensors for a batch of one image, beside its weights.

    Raises:
        UnknownSizeError: A size does not follow from the graph.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(_without_weights(model), strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise UnknownSizeError(f"operators that do not fit together ({str(error).splitlines()[0][:200]})") from error
    found: dict[int, Mapping[str, int]] = {}
    for number, graph in enumerate(graphs(inferred.graph)):
        found[number] = _bytes_by_name(graph)
    largest = max(max(sizes.values(), default=0) for sizes in found.values())
    return Sizes(largest, _peak(inferred.graph))


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph, and the bodies of its loops."""
    yield graph
    for node in graph.node:
        yield from _bodies(node)


def extents(value: ValueInfoProto) -> list[int | None]:
    """The size of each axis; None where it depends on the batch."""
    dimensions = value.type.tensor_type.shape.dim
    return [dimension.dim_value if dimension.HasField("dim_value") else None for dimension in dimensions]


def _bodies(node: NodeProto) -> list[GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _bytes_by_name(graph: GraphProto) -> dict[str, int]:
    """The bytes of each output of a node, and of the graph's inputs that are no weights."""
    described = {value.name: extents(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    sizes = {}
    for name in (name for node in graph.node for name in node.output if name):
        extent = described.get(name)
        # The size of the batch, or a multiple of it, is known only when the network runs.
        if extent is None or extent.count(None) > 1:
            raise UnknownSizeError(f"a tensor whose size is not known ({name})")
        sizes[name] = BYTES[TensorProto.FLOAT] * math.prod(size or 1 for size in extent)
    return sizes


def _peak(graph: GraphProto) -> int:
    """Bytes that are alive at once, where every tensor is freed behind the last node that takes it."""
    sizes = _bytes_by_name(graph)
    last = {name: number for number, node in enumerate(graph.node) for name in _taken(node)}
    last.update({value.name: len(graph.node) for value in graph.output})
    alive = peak = 0
    for number, node in enumerate(graph.node):
        freed = [sizes[name] for name in set(_taken(node)) if name in sizes and last[name] == number]
        made = [sizes[name] for name in node.output if name]
        inside = sum(_peak(body) for body in _bodies(node))
        over = made[0] if node.op_type in _IN_PLACE and made[0] in freed else 0
        peak = max(peak, alive + sum(made) + inside - over)
        alive += sum(made) - sum(freed)
    return peak


def _taken(node: NodeProto) -> Iterator[str]:
    """The tensors that a node takes, also from within its bodies."""
    yield from node.input
    for body in _bodies(node):
        yield from (name for inner in body.node for name in _taken(inner))


def _without_weights(model: ModelProto) -> ModelProto:
    """The model with the shapes of its weights in place of their values; small constants, which sizes need, stay."""
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.CopyFrom(GraphProto(name=model.graph.name, node=model.graph.node))
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _FEW_VALUES:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light
