"""The spacing, patch and batch size that a user fixes instead of leaving them to the planner."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from umseg.common.errors import UserError
from umseg.common.text import by, printable
from umseg.planning.consistency import MOST_BATCH, MOST_WINDOW
from umseg.planning.rules.spacing import Triple, permute

NumberT = TypeVar("NumberT", int, float)

_SPACING = "three positive numbers, mm along z, y and x, e.g. 2.5,0.8,0.8"
_PATCH = "three whole numbers for z, y and x, e.g. 64,128,128; or two (y,x) for the 2d configuration"

_FINEST, _COARSEST = 1e-9, 1e9
_LONGEST = 2**20


@dataclass(frozen=True)
class Overrides:
    """Values that replace those of the planner; all axes are those of the image arrays (z, y, x).

    Attributes:
        spacing: Target spacing in mm.
        patch_size: Voxels per axis: three numbers for the 3-D configurations, two (in-plane) for ``2d``. The planner
            pads the patch where the network's strides require it.
        batch_size: Patches per training iteration, for every configuration.

    Raises:
        UserError: A number is not positive or too large, or the count of numbers differs from that of the axes.
    """

    spacing: Triple | None = None
    patch_size: tuple[int, ...] | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        _check_spacing(self.spacing)
        _check("patch size", self.patch_size, (2, 3), _PATCH, 1, _LONGEST)
        if self.patch_size is not None and math.prod(self.patch_size) > MOST_WINDOW:
            raise UserError(
                "The patch size is not valid.", found=by(self.patch_size), expected=f"at most {MOST_WINDOW:,} voxels"
            )
        if self.batch_size is not None and not 1 <= self.batch_size <= MOST_BATCH:
            raise UserError(
                "The batch size is not valid.", found=f"{self.batch_size:.6g}", expected=f"from 1 to {MOST_BATCH:,}"
            )

    @classmethod
    def parse(cls, spacing: str | None, patch_size: str | None, batch_size: int | None) -> Overrides:
        """The overrides from the text that a user typed: numbers separated by commas.

        Raises:
            UserError: As for the class, or part of the text is not a number.
        """
        patch = _numbers("patch size", patch_size, int, _PATCH)
        sizes = _numbers("spacing", spacing, float, _SPACING)
        _check_spacing(sizes)
        return cls(None if sizes is None else (sizes[0], sizes[1], sizes[2]), patch, batch_size)

    def permuted(self, order: tuple[int, int, int]) -> Overrides:
        """The same overrides in the axis order of a plan; a 2-D patch is in-plane already and does not change."""
        patch = self.patch_size
        if patch is not None and len(patch) == 3:
            patch = tuple(patch[axis] for axis in order)
        spacing = None if self.spacing is None else permute(self.spacing, order)
        return replace(self, spacing=spacing, patch_size=patch)

    def patch(self, dimensions: int) -> tuple[int, ...] | None:
        """The fixed patch for a configuration of two or three dimensions, or None."""
        return self.patch_size if self.patch_size is not None and len(self.patch_size) == dimensions else None


def _check_spacing(spacing: Sequence[float] | None) -> None:
    _check("spacing", spacing, (3,), _SPACING, _FINEST, _COARSEST)


def _numbers(name: str, text: str | None, kind: Callable[[str], NumberT], expected: str) -> tuple[NumberT, ...] | None:
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"The {name} is not valid.", found=printable(text), expected=expected) from None


def _check(
    name: str, values: Sequence[float] | None, lengths: tuple[int, ...], expected: str, least: float, most: float
) -> None:
    if values is not None and (len(values) not in lengths or not all(least <= value <= most for value in values)):
        found = printable(",".join(f"{value:.6g}" for value in values))
        raise UserError(f"The {name} is not valid.", found=found, expected=f"{expected}; from {least:g} to {most:,g}")
