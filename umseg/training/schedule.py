"""The learning rate over the epochs."""

from __future__ import annotations


def polynomial(epoch: int, epochs: int, exponent: float = 0.9) -> float:
    """Factor on the initial learning rate at the start of an epoch: (1 - epoch / epochs) ** 0.9 (facts 1.11)."""
    return float((1 - epoch / epochs) ** exponent)
