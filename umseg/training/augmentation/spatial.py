"""Rotation, zoom and crop in one interpolation; majorities for labels (docs/rules.md, Augmentation)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from umseg.training.augmentation.interpolation import (
    OUTSIDE,
    Placement,
    sample_cubic,
    sample_linear,
    sample_majority,
)
from umseg.training.augmentation.operators import small_pieces, spline_coefficients, zooming


def centre_crop(x: Tensor, patch: Sequence[int]) -> Tensor:
    """The middle of the last axes; of an odd margin the larger half is cut off at the end."""
    for axis, size in zip(range(x.dim() - len(patch), x.dim()), patch, strict=True):
        x = x.narrow(axis, (x.shape[axis] - size) // 2, size)
    return x


def turn(
    image: Tensor,
    label: Tensor,
    patch: Sequence[int],
    angles: Sequence[float],
    zoom: float,
    splines: bool = True,
) -> tuple[Tensor, Tensor]:
    """Turn and zoom about the centre.

    Args:
        image: (channels, *spatial) float32.
        label: (planes, *spatial) int16.
        patch: Size of the result in the spatial axes, 2 or 3.
        angles: Radians, one in 2-D, one about each axis in 3-D.
        zoom: Above 1 objects get smaller.
        splines: Interpolate the image by cubic splines, else linearly.

    Returns:
        (channels, *patch), 0 where there is no image; (planes, *patch), -1 there.
    """
    where = Placement(zoom * rotation(angles), tuple(image.shape[1:]), tuple(patch))
    on_cpu = small_pieces(image.device)
    if any(angles) and splines:
        coefficients = image
        for axis in range(1, image.dim()):
            coefficients = spline_coefficients(image.shape[axis], image.device)(coefficients, axis)
        turned = (_cubic_on_cpu if on_cpu else sample_cubic)(coefficients, where)
    elif any(angles):
        turned = (_linear_on_cpu if on_cpu else sample_linear)(image, where)
    else:
        turned = image
        for axis, size in enumerate(patch, start=1):
            turned = zooming(image.shape[axis], size, zoom, image.device, splines)(turned, axis)
    return turned, (_majority_on_cpu if on_cpu else sample_majority)(label, where)


def _cubic_on_cpu(coefficients: Tensor, where: Placement) -> Tensor:
    from umseg.kernels.interpolation import cpu_kernels

    spatial = where.in_space()
    volume = (coefficients.unsqueeze(1) if len(where.sizes) == 2 else coefficients).contiguous()
    turned = coefficients.new_empty(len(coefficients), *spatial.patch)
    cpu_kernels.sample_cubic(volume.numpy(), spatial.sizes[0], spatial.matrix, spatial.origin, turned.numpy())
    return turned.view(-1, *where.patch)


def _linear_on_cpu(image: Tensor, where: Placement) -> Tensor:
    from umseg.kernels.interpolation import cpu_kernels

    spatial = where.in_space()
    turned = image.new_empty(len(image), *spatial.patch)
    volume = image.reshape(-1, *spatial.sizes).contiguous()
    cpu_kernels.sample_linear(volume.numpy(), spatial.matrix, spatial.origin, turned.numpy())
    return turned.view(-1, *where.patch)


def _majority_on_cpu(label: Tensor, where: Placement) -> Tensor:
    from umseg.kernels.interpolation import cpu_kernels

    spatial = where.in_space()
    turned = label.new_empty(len(label), *spatial.patch)
    volume = label.reshape(-1, *spatial.sizes).contiguous()
    cpu_kernels.sample_majority(volume.numpy(), spatial.matrix, spatial.origin, OUTSIDE, turned.numpy())
    return turned.view(-1, *where.patch)


def rotation(angles: Sequence[float]) -> NDArray[np.float64]:
    """Matrix for column vectors, (2, 2) of one angle or (3, 3) of the angles about the axes, right-handed.

    As batchgenerators, which multiplies row vectors by R_0 R_1 R_2: columns are multiplied by the transposed product.
    """
    axes, planes = (2, [(0, 1)]) if len(angles) == 1 else (3, [(1, 2), (2, 0), (0, 1)])
    product = np.eye(axes)
    for angle, plane in zip(angles, planes, strict=True):
        product = product @ _rotation(angle, axes, plane)
    return np.asarray(product.T)


def _rotation(angle: float, axes: int, plane: tuple[int, int]) -> NDArray[np.float64]:
    """From the first axis of ``plane`` towards the second."""
    matrix = np.eye(axes)
    cos, sin = math.cos(angle), math.sin(angle)
    matrix[np.ix_(plane, plane)] = [[cos, -sin], [sin, cos]]
    return matrix
