"""What the sliding window hands on: finished planes of an image, strip by strip."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Strip:
    """Rows ``[start, stop)`` of axis 1 of the network's grid, before padding.

    An image whose sums do not fit is worked on in several strips. Neighbours overlap by one row, so that a consumer
    that interpolates between two rows finds both of them in one strip.
    """

    start: int
    stop: int


@dataclass(frozen=True)
class Slab:
    """Finished planes of a strip: no later window touches them. The tensors are valid until the next slab is asked for.

    Attributes:
        sums: (classes, planes, rows, x) float32, sums of weighted logits on the device that keeps them. Classes are
            innermost in memory: ``sums.permute(1, 2, 3, 0)`` is contiguous.
        weights: (planes, rows, x) float32, contiguous and positive; ``sums / weights`` are the logits.
        start: First plane, along axis 0 of the network's grid before padding.
        strip: The rows.
        member_sums: (members, classes, planes, rows, x), the sums of each fold model or, where there is one, of each
            flip, if they were asked for; ``sums`` is their mean.
    """

    sums: Tensor
    weights: Tensor
    start: int
    strip: Strip
    member_sums: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """(classes, planes, rows, x) float32, in memory of its own."""
        return self.sums / self.weights
