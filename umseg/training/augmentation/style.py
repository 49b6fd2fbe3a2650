"""Whose variants of the transforms are used (docs/rules.md, Augmentation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StyleName = Literal["umamba", "nnunet"]


@dataclass(frozen=True)
class Style:
    """Where the published systems differ; all else they do alike.

    Attributes:
        splines: Images that are turned, zoomed or enlarged are interpolated by cubic splines, else linearly, which is
            faster and smooths noise.
        zoom_by_halves: Zoom is as often below 1 as above; else it is uniform.
        blur_by_axis: The Gaussian of a blur has a width of its own along every axis.
    """

    splines: bool
    zoom_by_halves: bool
    blur_by_axis: bool


STYLES: dict[StyleName, Style] = {
    "umamba": Style(splines=True, zoom_by_halves=True, blur_by_axis=False),
    "nnunet": Style(splines=False, zoom_by_halves=False, blur_by_axis=True),
}
"""``umamba``: batchgenerators' transforms, as U-Mamba and nnU-Net 2.0 to 2.4 use them. ``nnunet``: those of newer
releases of nnU-Net, batchgeneratorsv2's."""
UMAMBA = STYLES["umamba"]
