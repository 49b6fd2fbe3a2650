"""The ONNX graph that a conversion adds to: nodes, and constants that are stored once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

Shape = tuple[int | None, ...]
"""Sizes of a tensor; None where the size depends on that of the batch."""


@dataclass(frozen=True)
class Symbol:
    """A tensor that is known only when the graph runs.

    Attributes:
        name: Name in the graph.
        shape: Its sizes.
    """

    name: str
    shape: Shape


Operand = Symbol | Tensor | str | None
"""An input of a node: a tensor of the network, a constant, the name of another node's output, or none."""


class GraphBuilder:
    """Nodes of one graph in the order in which they are added, and constants.

    Args:
        around: Graph that this one is the body of. It holds the constants, and all names differ from its own.
    """

    def __init__(self, around: GraphBuilder | None = None) -> None:
        self.nodes: list[NodeProto] = []
        self._store: _Store = _Store() if around is None else around._store

    def add(self, operator: str, *inputs: Operand, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        return self.add_several(operator, 1, *inputs, **attributes)[0]

    def add_several(self, operator: str, outputs: int, *inputs: Operand, **attributes: Any) -> tuple[str, ...]:
        """Add a node with several outputs; returns their names."""
        given = [self.name_of(operand) for operand in inputs]
        # onnxruntime 1.32 crashes where it joins a LayerNormalization whose last input is none by name.
        while given and not given[-1]:
            given.pop()
        names = tuple(self.unused(operator.lower()) for _ in range(outputs))
        self.nodes.append(helper.make_node(operator, given, names, **attributes))
        return names

    def unused(self, stem: str) -> str:
        """A name that no other value has."""
        return self._store.unused(stem)

    def name_of(self, operand: Operand) -> str:
        """The name by which a node takes this input; a constant is stored."""
        if isinstance(operand, Tensor):
            return self._store.use(operand)
        return operand.name if isinstance(operand, Symbol) else operand or ""

    def call(self, tensor: Tensor, name: str) -> None:
        """Give a constant the name under which it is stored if a node uses it."""
        self._store.names[id(tensor)] = tensor, name

    def integers(self, values: Sequence[int]) -> Tensor:
        """A constant of 64-bit integers, such as a shape or a list of axes."""
        return self._store.lists.setdefault(tuple(values), torch.tensor(list(values), dtype=torch.int64))

    def number(self, value: float) -> Tensor:
        """A constant of one number in single precision."""
        return self._store.numbers.setdefault(float(value), torch.tensor(float(value)))

    def constants(self) -> list[TensorProto]:
        """All constants that nodes use, also those of bodies."""
        return [_proto(tensor, name) for name, tensor in self._store.used.items()]


class _Store:
    """The constants and names of a graph and its bodies."""

    def __init__(self) -> None:
        self.used: dict[str, Tensor] = {}
        # The tensors are kept with their names, so that no other tensor takes their identity.
        self.names: dict[int, tuple[Tensor, str]] = {}
        self.lists: dict[tuple[int, ...], Tensor] = {}
        self.numbers: dict[float, Tensor] = {}
        self._count = 0

    def unused(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"

    def use(self, tensor: Tensor) -> str:
        known = self.names.get(id(tensor))
        if known is None:
            known = self.names[id(tensor)] = tensor, self.unused("constant")
        self.used[known[1]] = tensor
        return known[1]


def _proto(tensor: Tensor, name: str) -> TensorProto:
    single = tensor.float() if tensor.dtype == torch.float64 else tensor
    return numpy_helper.from_array(single.detach().contiguous().numpy(), name)
