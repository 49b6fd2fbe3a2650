"""Conversion of a network to ONNX: every operator that it calls becomes nodes of the graph.

umseg converts by itself, because torch's converters need another package or are about to be removed, and because its
own operators and the scan of Mamba layers are unknown to them.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from onnx import ModelProto, TensorProto, helper
from torch import Tensor, fx, nn

from umseg import __version__
from umseg.common.errors import UserError
from umseg.inference.runtimes.form import BATCH, INPUT, IR_VERSION, OPSET, OUTPUT
from umseg.inference.runtimes.graph import GraphBuilder, Shape, Symbol
from umseg.inference.runtimes.operators import convolution, elementwise, layout, mamba, normalization, products
from umseg.inference.runtimes.operators.table import Handlers, Place
from umseg.inference.runtimes.tracing import constants_of, traced

HANDLERS = Handlers()
for _kind in (elementwise, layout, convolution, normalization, products, mamba):
    HANDLERS.update(_kind.HANDLERS)

_WITHOUT_EFFECT = ("aten._assert", "aten.sym_constrain_range")


class _Unknown:
    """A number that depends on the size of the batch."""


def converted(network: nn.Module, in_channels: int, num_classes: int, patch: Sequence[int]) -> ModelProto:
    """A network as an ONNX model from ``image`` (batch, in_channels, *patch) to ``logits`` (batch, classes, *patch).

    The network is moved to the CPU and to float32.

    Raises:
        UserError: The network calls an operator that umseg cannot convert.
    """
    program = traced(network, in_channels, patch)
    graph = GraphBuilder()
    constants = constants_of(program)
    for name, tensor in constants.values():
        graph.call(tensor, name)
    values: dict[str, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            constant = constants.get(node.name)
            values[node.name] = Symbol(INPUT, _shape(node.meta["val"])) if constant is None else constant[1]
        elif node.op == "call_function" and not str(node.target).startswith(_WITHOUT_EFFECT):
            values[node.name] = _value(graph, node, values)
        elif node.op == "output":
            logits = values[node.args[0][0].name]
    graph.nodes.append(helper.make_node("Identity", [graph.name_of(logits)], [OUTPUT]))
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "umseg",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [BATCH, in_channels, *patch])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [BATCH, num_classes, *patch])],
            graph.constants(),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="umseg",
        producer_version=__version__,
    )


def _value(graph: GraphBuilder, node: fx.Node, values: dict[str, Any]) -> Any:
    """What a call gives: a constant where all its inputs are constants, a number, or a tensor of the graph."""

    def resolved(argument: Any) -> Any:
        return fx.node.map_arg(argument, lambda inner: values[inner.name])

    args, kwargs = resolved(node.args), resolved(node.kwargs)
    if node.target is operator.getitem:
        return args[0][args[1]]
    known = node.meta["val"]
    if isinstance(known, torch.SymInt | int):
        return known if isinstance(known, int) else _Unknown()
    given = _leaves([args, kwargs])
    if not any(isinstance(leaf, Symbol | _Unknown) for leaf in given):
        return node.target(*args, **kwargs)  # type: ignore[operator]
    handler = HANDLERS.get(str(node.target))
    if handler is None:
        raise UserError(
            f"The network cannot be converted to ONNX: umseg does not know the operator {node.target}.",
            remedy="Predict with torch, which is the default.",
        )
    several = isinstance(known, tuple | list)
    shapes = [_shape(tensor) for tensor in (known if several else [known])]
    result = handler(Place(graph, shapes), *args, **kwargs)
    if isinstance(result, Tensor):
        return result
    if isinstance(result, str):
        return Symbol(result, shapes[0])
    return [None if name is None else Symbol(name, shape) for name, shape in zip(result, shapes, strict=True)]


def _leaves(tree: object) -> list[object]:
    if isinstance(tree, dict):
        return _leaves(list(tree.values()))
    if isinstance(tree, tuple | list):
        return [leaf for branch in tree for leaf in _leaves(branch)]
    return [tree]


def _shape(tensor: Tensor) -> Shape:
    sizes: Sequence[object] = tensor.shape
    return tuple(size if isinstance(size, int) else None for size in sizes)
