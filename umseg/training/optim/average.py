"""The average of a network's weights over the last iterations (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from umseg.kernels.runtime.torch_private import foreach_lerp_


class WeightAverage:
    """Exponential moving average of the weights: a smoother network than that of the last iteration.

    Attributes:
        decay: Weight of the earlier average in an update; the first updates give it less, (1 + n) / (10 + n), so that
            the initial weights are forgotten.
        updates: Number of updates so far.
        weights: The average, by parameter name, on the network's device.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._parameters = dict(network.named_parameters())
        self.weights = {name: weight.detach().clone() for name, weight in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the weights after an iteration."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        foreach_lerp_(list(self.weights.values()), list(self._parameters.values()), 1 - decay)

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Give the network the averaged weights within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def load(self, weights: dict[str, Tensor], updates: int) -> None:
        """Replace the average by one that was saved."""
        self.updates = updates
        for name, weight in weights.items():
            self.weights[name].copy_(weight)

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self._parameters.items():
            other = weight.clone()
            weight.copy_(self.weights[name])
            self.weights[name].copy_(other)
