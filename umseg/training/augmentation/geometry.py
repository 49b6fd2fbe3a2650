"""How a patch may be turned, and how much larger the patch is that is cut for it (docs/rules.md, Augmentation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ANISOTROPY = 3.0
# The cut patch leaves room for rotation and for the smallest zoom of the published rule.
SMALLEST_ZOOM = 0.85


@dataclass(frozen=True)
class Geometry:
    """How a patch may be turned.

    Attributes:
        angle: Largest rotation about each axis, radians.
        in_plane: Slices are turned one by one in their plane ("dummy 2-D"): the patch is much thinner along axis 0.
        mirror_axes: Spatial axes that are mirrored.
        initial_patch: Size of the patch to cut, so that rotation and zoom see no border.
    """

    angle: float
    in_plane: bool
    mirror_axes: tuple[int, ...]
    initial_patch: tuple[int, ...]

    @property
    def turned_axes(self) -> int:
        """Number of axes that a rotation mixes: 2 or 3, the last ones."""
        return len(self.initial_patch) - self.in_plane


def patch_geometry(patch: Sequence[int], mirror_axes: tuple[int, ...] | None = None) -> Geometry:
    """Rotation range, dummy 2-D, mirror axes and initial patch for a 2-D or 3-D patch size.

    Source: docs/rules.md, Augmentation.

    All axes are mirrored unless ``mirror_axes`` says otherwise.
    """
    in_plane = len(patch) == 3 and max(patch) / patch[0] > ANISOTROPY
    if len(patch) == 2:
        angle = np.deg2rad(15 if max(patch) / min(patch) > 1.5 else 180)
    else:
        angle = np.deg2rad(180 if in_plane else 30)
    turned = _initial_patch(patch[1:], angle) if in_plane else _initial_patch(patch, angle)
    initial = (patch[0], *turned) if in_plane else turned
    axes = tuple(range(len(patch))) if mirror_axes is None else mirror_axes
    return Geometry(float(angle), in_plane, axes, initial)


def _initial_patch(patch: Sequence[int], angle: float) -> tuple[int, ...]:
    """The published bound: the size vector turned about each axis by ``angle``, 90 degrees at most, over the zoom."""
    cos, sin = np.cos(min(angle, np.pi / 2)), np.sin(min(angle, np.pi / 2))
    size = np.asarray(patch, dtype=float)
    reach = size.copy()
    for i, j in [(0, 1)] if len(patch) == 2 else [(0, 1), (1, 2), (2, 0)]:
        reach[i] = max(reach[i], abs(cos * size[i] + sin * size[j]))
        reach[j] = max(reach[j], abs(cos * size[j] - sin * size[i]))
    return tuple(int(r) for r in reach / SMALLEST_ZOOM)
