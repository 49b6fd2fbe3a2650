"""Where the voxels of a case lie in a file: on the grid of the image, or on that of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.crop import BoundingBox, box_slices
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.orientation import Turn
from umseg.planning.plan import Plan
from umseg.preprocess.case import CaseProperties


@dataclass(frozen=True)
class Frame:
    """The grid of a file, and the part of it for which a network gives probabilities.

    Attributes:
        geometry: Grid of the file.
        turn: Turn from the file's axes to those of the training images.
        order: The plan's order of these axes (``transpose_forward``).
        box: The part, along the axes in the plan's order.
    """

    geometry: Geometry
    turn: Turn
    order: tuple[int, int, int]
    box: BoundingBox

    @classmethod
    def of_image(cls, properties: CaseProperties, plan: Plan, turn: Turn, geometry: Geometry) -> Frame:
        """The grid of an image file, of which the nonzero region is the network's part."""
        return cls(geometry, turn, plan.transpose_forward, properties.bbox)

    @classmethod
    def of_network(cls, properties: CaseProperties, plan: Plan, turn: Turn, geometry: Geometry) -> Frame:
        """The network's grid in space, along the axes of the image file: its crop, at the network's spacing."""
        back = plan.transpose_backward
        turned = turn.geometry(geometry)
        axes = turned.dimensions
        # From the plan's axis order to x, y, z.
        starts, lengths, sizes = (
            np.asarray([values[axis] for axis in back][::-1][:axes])
            for values in (
                [start for start, _ in properties.bbox],
                properties.shape_after_cropping,
                properties.shape_after_resampling,
            )
        )
        steps = lengths / sizes
        # The crop begins half a voxel before its first voxel's centre, and half a step before the new one's.
        first = (starts - 0.5 + 0.5 * steps) * np.asarray(turned.spacing)
        direction = np.reshape(turned.direction, (axes, axes))
        moved = replace(
            turned,
            size=tuple(sizes.tolist()),
            spacing=tuple((np.asarray(turned.spacing) * steps).tolist()),
            origin=tuple((np.asarray(turned.origin) + direction @ first).tolist()),
            nifti=None,
        )
        depth, height, width = properties.shape_after_resampling
        return cls(turn.inverse.geometry(moved), turn, plan.transpose_forward, ((0, depth), (0, height), (0, width)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the file along z, y and x."""
        return self.geometry.shape

    @property
    def is_full(self) -> bool:
        """Whether the network gives probabilities for all voxels of the file."""
        return math.prod(self.shape) == math.prod(stop - start for start, stop in self.box)

    def part(self, values: NDArray[Any]) -> NDArray[Any]:
        """The network's part of an array (..., z, y, x) of the file, in the plan's axis order: a view."""
        turned = self.turn.view(values)
        leading = range(values.ndim - 3)
        moved = turned.transpose(*leading, *(axis + len(leading) for axis in self.order))
        depth, height, width = box_slices(self.box)
        part: NDArray[Any] = moved[..., depth, height, width]
        return part
