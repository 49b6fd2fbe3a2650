"""Rotation, zoom and crop of images in one interpolation; of label maps by the majority of neighbours.

Source: docs/rules.md, Augmentation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from umseg.training.augmentation.axis_operators import small_pieces, spline_coefficients, zooming
from umseg.training.augmentation.placement import (
    OUTSIDE,
    Placement,
    sample_cubic,
    sample_linear,
    sample_majority,
)


def centre_crop(x: Tensor, patch: Sequence[int]) -> Tensor:
    """The centre of the last axes; the larger half of an odd margin is cut off at the end."""
    for axis, size in zip(range(x.dim() - len(patch), x.dim()), patch, strict=True):
        x = x.narrow(axis, (x.shape[axis] - size) // 2, size)
    return x


def rotate_and_zoom(
    image: Tensor,
    label: Tensor,
    patch: Sequence[int],
    angles: Sequence[float],
    zoom: float,
    splines: bool = True,
) -> tuple[Tensor, Tensor]:
    """Rotate and zoom about the centre.

    Args:
        image: (channels, *spatial) float32.
        label: (planes, *spatial) int16.
        patch: Size of the result in the spatial axes, 2 or 3.
        angles: Radians: one angle in 2-D, one about each axis in 3-D.
        zoom: Factor of the coordinates; above 1 objects get smaller.
        splines: Whether the image is interpolated by cubic splines, otherwise linearly.

    Returns:
        (channels, *patch), 0 outside the image, and (planes, *patch), -1 there.
    """
    placement = Placement(zoom * rotation(angles), tuple(image.shape[1:]), tuple(patch))
    on_cpu = small_pieces(image.device)
    if any(angles) and splines:
        coefficients = image
        for axis in range(1, image.dim()):
            coefficients = spline_coefficients(image.shape[axis], image.device)(coefficients, axis)
        rotated = (_cubic_on_cpu if on_cpu else sample_cubic)(coefficients, placement)
    elif any(angles):
        rotated = (_linear_on_cpu if on_cpu else sample_linear)(image, placement)
    else:
        rotated = image
        for axis, size in enumerate(patch, start=1):
            rotated = zooming(image.shape[axis], size, zoom, image.device, splines)(rotated, axis)
    return rotated, (_majority_on_cpu if on_cpu else sample_majority)(label, placement)


def _cubic_on_cpu(coefficients: Tensor, placement: Placement) -> Tensor:
    from umseg.kernels.interpolation import cpu_kernels

    spatial = placement.in_space()
    volume = (coefficients.unsqueeze(1) if len(placement.sizes) == 2 else coefficients).contiguous()
    rotated = coefficients.new_empty(len(coefficients), *spatial.patch)
    cpu_kernels.sample_cubic(volume.numpy(), spatial.sizes[0], spatial.matrix, spatial.origin, rotated.numpy())
    return rotated.view(-1, *placement.patch)


def _linear_on_cpu(image: Tensor, placement: Placement) -> Tensor:
    from umseg.kernels.interpolation import cpu_kernels

    spatial = placement.in_space()
    rotated = image.new_empty(len(image), *spatial.patch)
    volume = image.reshape(-1, *spatial.sizes).contiguous()
    cpu_kernels.sample_linear(volume.numpy(), spatial.matrix, spatial.origin, rotated.numpy())
    return rotated.view(-1, *placement.patch)


def _majority_on_cpu(label: Tensor, placement: Placement) -> Tensor:
    from umseg.kernels.interpolation import cpu_kernels

    spatial = placement.in_space()
    rotated = label.new_empty(len(label), *spatial.patch)
    volume = label.reshape(-1, *spatial.sizes).contiguous()
    cpu_kernels.sample_majority(volume.numpy(), spatial.matrix, spatial.origin, OUTSIDE, rotated.numpy())
    return rotated.view(-1, *placement.patch)


def rotation(angles: Sequence[float]) -> NDArray[np.float64]:
    """The right-handed rotation matrix for column vectors: (2, 2) for one angle, (3, 3) for angles about three axes.

    It equals that of batchgenerators, which multiplies row vectors by R_0 R_1 R_2: column vectors are multiplied by the
    transposed product.
    """
    axes, planes = (2, [(0, 1)]) if len(angles) == 1 else (3, [(1, 2), (2, 0), (0, 1)])
    product = np.eye(axes)
    for angle, plane in zip(angles, planes, strict=True):
        product = product @ _rotation(angle, axes, plane)
    return np.asarray(product.T)


def _rotation(angle: float, axes: int, plane: tuple[int, int]) -> NDArray[np.float64]:
    """The rotation from the first axis of ``plane`` towards the second."""
    matrix = np.eye(axes)
    cos, sin = math.cos(angle), math.sin(angle)
    matrix[np.ix_(plane, plane)] = [[cos, -sin], [sin, cos]]
    return matrix
