"""How a training patch may be rotated and mirrored, and how much larger it is cut for that.

Source: docs/rules.md, Augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ANISOTROPY = 3.0
# The margin around a patch leaves room for rotation and for the smallest zoom of the published rule.
SMALLEST_ZOOM = 0.85


@dataclass(frozen=True)
class PatchGeometry:
    """How a patch may be rotated and mirrored.

    Attributes:
        patch: Size of the final patch, which the network sees, 2-D or 3-D.
        initial_patch: Size of the patch with a margin, so that rotation and zoom do not see its border.
        angle: Largest rotation about each axis, radians.
        in_plane: Whether each slice is rotated in its own plane ("dummy 2-D"), because the patch is much thinner along
            axis 0.
        mirror_axes: Spatial axes that are mirrored.
    """

    patch: tuple[int, ...]
    initial_patch: tuple[int, ...]
    angle: float
    in_plane: bool
    mirror_axes: tuple[int, ...]

    @property
    def rotated_axes(self) -> int:
        """Number of axes that a rotation mixes: the last 2 or 3."""
        return len(self.patch) - self.in_plane


def patch_geometry(patch: Sequence[int], mirror_axes: tuple[int, ...] | None = None) -> PatchGeometry:
    """Rotation range, dummy 2-D, mirror axes and margin for a patch.

    Args:
        patch: Size of the final patch, 2-D or 3-D.
        mirror_axes: Spatial axes that are mirrored; None means all.
    """
    in_plane = len(patch) == 3 and max(patch) / patch[0] > ANISOTROPY
    if len(patch) == 2:
        angle = np.deg2rad(15 if max(patch) / min(patch) > 1.5 else 180)
    else:
        angle = np.deg2rad(180 if in_plane else 30)
    rotated = _initial_patch(patch[1:], angle) if in_plane else _initial_patch(patch, angle)
    initial = (patch[0], *rotated) if in_plane else rotated
    axes = tuple(range(len(patch))) if mirror_axes is None else mirror_axes
    return PatchGeometry(tuple(patch), initial, float(angle), in_plane, axes)


def _initial_patch(patch: Sequence[int], angle: float) -> tuple[int, ...]:
    """The published bound: the sizes, rotated about each axis by ``angle`` (90 degrees at most), over the zoom."""
    cos, sin = np.cos(min(angle, np.pi / 2)), np.sin(min(angle, np.pi / 2))
    size = np.asarray(patch, dtype=float)
    reach = size.copy()
    for i, j in [(0, 1)] if len(patch) == 2 else [(0, 1), (1, 2), (2, 0)]:
        reach[i] = max(reach[i], abs(cos * size[i] + sin * size[j]))
        reach[j] = max(reach[j], abs(cos * size[j] - sin * size[i]))
    return tuple(int(r) for r in reach / SMALLEST_ZOOM)
