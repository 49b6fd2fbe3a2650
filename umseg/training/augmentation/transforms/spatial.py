"""Rotation, zoom and crop in one interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from umseg.training.augmentation.patch_geometry import PatchGeometry
from umseg.training.augmentation.transform import Context, Transform, around_one
from umseg.training.augmentation.warp import rotate_and_zoom


class SpatialParams(NamedTuple):
    """The placement of a patch.

    Attributes:
        angles: Radians about the rotated axes: three angles in 3-D, otherwise one.
        zoom: Factor of the coordinates; above 1 objects get smaller.
        geometry: The patch that is cropped.
    """

    angles: tuple[float, ...]
    zoom: float
    geometry: PatchGeometry


@dataclass(frozen=True)
class Spatial(Transform[SpatialParams]):
    """Rotate and zoom about the centre, and crop the final patch.

    Attributes:
        rotation_probability: Share of the samples that are rotated.
        zoom_probability: Share of the samples that are zoomed.
        zoom: Smallest and largest zoom.
        zoom_by_halves: Whether the zoom lies below 1 as often as above; otherwise it is uniform.
        splines: Whether images are interpolated by cubic splines, otherwise linearly.
    """

    rotation_probability: float = 0.2
    zoom_probability: float = 0.2
    zoom: tuple[float, float] = (0.7, 1.4)
    zoom_by_halves: bool = True
    splines: bool = True
    name: str = "spatial"

    margin = True

    def draw(self, rng: np.random.Generator, context: Context) -> SpatialParams | None:
        """Draw the rotation and the zoom independently of each other."""
        geometry = context.geometry
        angles = np.zeros(3 if geometry.rotated_axes == 3 else 1)
        zoom = 1.0
        if rotated := rng.random() < self.rotation_probability:
            angles = rng.uniform(-geometry.angle, geometry.angle, len(angles))
        if zoomed := rng.random() < self.zoom_probability:
            zoom = float(around_one(rng, self.zoom, 1)[0] if self.zoom_by_halves else rng.uniform(*self.zoom))
        return SpatialParams(tuple(angles.tolist()), zoom, geometry) if rotated or zoomed else None

    def apply(self, image: Tensor, label: Tensor, params: SpatialParams) -> tuple[Tensor, Tensor]:
        """The final patch of a sample that was cut with its margin."""
        patch, axes = params.geometry.patch, params.geometry.rotated_axes
        # Slices that are rotated one by one take the place of channels.
        slices, label_slices = (x.reshape(-1, *x.shape[-axes:]) for x in (image, label))
        rotated, rotated_label = rotate_and_zoom(
            slices, label_slices, patch[-axes:], params.angles, params.zoom, self.splines
        )
        return rotated.view(-1, *patch), rotated_label.view(-1, *patch)
