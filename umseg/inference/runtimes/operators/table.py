"""The table of conversions, by the names of torch's operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from umseg.inference.runtimes.graph import GraphBuilder, Operand, Shape, Symbol

Result = str | Tensor | tuple[str | None, ...]
"""The name of an operator's output, a constant, or the names of several outputs, of which None is not computed."""

Handler = Callable[..., Result]
"""``handler(place, *args, **kwargs)`` with the arguments of torch's operator; tensors are ``Symbol`` or constants."""

HandlerT = TypeVar("HandlerT", bound=Handler)


class Place(GraphBuilder):
    """The place in a graph where one of torch's operators is converted.

    Args:
        graph: Graph that is added to.
        shapes: Shapes of the operator's outputs, as torch computed them.
    """

    def __init__(self, graph: GraphBuilder, shapes: Sequence[Shape]) -> None:
        super().__init__(graph)
        self.nodes = graph.nodes
        self.shapes = shapes

    @property
    def shape(self) -> Shape:
        """Shape of the operator's first output."""
        return self.shapes[0]

    def operand(self, value: Operand | float) -> Operand:
        """A tensor, or a number as a constant."""
        if isinstance(value, int | float):
            return self.number(value)
        # Constants of whole numbers that meet fractions, such as masks, become fractions.
        return value.float() if isinstance(value, Tensor) and value.dtype != torch.float32 else value


class Handlers(dict[str, Handler]):
    """Conversions of one kind of operators."""

    def of(self, *operators: str) -> Callable[[HandlerT], HandlerT]:
        """A decorator that enters a conversion under the names of operators."""

        def enter(handler: HandlerT) -> HandlerT:
            self.update(dict.fromkeys(operators, handler))
            return handler

        return enter

    def add_plain(self, name: str, operator: str) -> None:
        """Enter an operator of one tensor that ONNX has under another name."""

        def handler(place: Place, x: Symbol, *_: Any) -> str:
            return place.add(operator, x)

        self[name] = handler
