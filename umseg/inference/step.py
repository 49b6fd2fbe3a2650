"""The distance of neighbouring windows, which is checked before torch is imported."""

from __future__ import annotations

from umseg.common.errors import UserError

SMALLEST_STEP = 0.05
"""Smallest distance of neighbouring patches as a fraction of the patch: 8,000 windows cover each voxel of a volume."""


def check_step(step: float) -> None:
    """Refuse what is no fraction of the patch.

    Raises:
        UserError: The step is too small, too large or no number.
    """
    if not SMALLEST_STEP <= step <= 1:
        raise UserError(
            "The step is not a valid fraction of the patch.",
            found=step,
            expected=f"from {SMALLEST_STEP} to 1",
            remedy="Correct --step; the default is 0.5.",
        )
