"""A wrapper that gives networks with one output the interface of deep supervision."""

from __future__ import annotations

from torch import Tensor, nn


class SingleHead(nn.Module):
    """A network with one output, which is a list of one under deep supervision.

    Args:
        network: Module from (batch, channels, *patch) to logits (batch, classes, *patch).
        deep_supervision: Whether to return a list with the one output.
    """

    def __init__(self, network: nn.Module, deep_supervision: bool) -> None:
        super().__init__()
        self.network = network
        self.deep_supervision = deep_supervision

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits at full resolution, or a list of them under deep supervision."""
        logits: Tensor = self.network(x)
        return [logits] if self.deep_supervision else logits
