"""Refusal of logits of which the most probable class means nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.inference.windows.forward import CPU


class FiniteCheck:
    """A check of all logits of an image, slab by slab.

    On a CPU the first slab with a wrong value raises the error. On a GPU nothing waits for the device until ``end``.

    Args:
        precision: Number format of the convolutions, for the error message.
        device: Device of the networks.
    """

    def __init__(self, precision: torch.dtype, device: torch.device) -> None:
        self._precision, self._device = precision, device
        self._finite: Tensor | None = None

    def look(self, sums: Tensor) -> None:
        """Take note of a slab.

        Args:
            sums: (classes, planes, rows, x), with classes innermost in memory.

        Raises:
            UserError: A value is NaN or infinite.
        """
        if self._device == CPU:
            # The extremes of all classes together are NaN where any value is, and many times quicker.
            extremes = torch.stack(torch.aminmax(sums.permute(1, 2, 3, 0)))
            if not torch.isfinite(extremes).all():
                self._refuse(_finite_outputs(sums))
        else:
            finite = _finite_outputs(sums)
            before = self._finite
            self._finite = finite if before is None else before.to(finite.device) & finite

    def end(self) -> None:
        """Look at what was noted; the host waits for the device once.

        Raises:
            UserError: A value of a slab was NaN or infinite.
        """
        if self._finite is not None:
            self._refuse(self._finite)

    def _refuse(self, finite: Tensor) -> None:
        outputs = finite.tolist()
        if all(outputs):
            return
        wrong = [str(number) for number, is_finite in enumerate(outputs) if not is_finite]
        half = self._precision == torch.float16
        raise UserError(
            "The network's output is not finite (NaN or infinity), so that it segments nothing.",
            found=f"output {few(wrong)} of {len(outputs)}, precision {str(self._precision).removeprefix('torch.')}",
            expected="finite numbers",
            remedy="Predict with --precision fp32."
            if half
            else "Check that the model has not diverged in training, "
            "and that the image is one of those that it was trained for.",
        )


def _finite_outputs(sums: Tensor) -> Tensor:
    """(classes,), whether all values of a class are finite."""
    by_voxel = sums.permute(1, 2, 3, 0).flatten(0, 2)
    return torch.isfinite(by_voxel.amin(dim=0)) & torch.isfinite(by_voxel.amax(dim=0))
