"""What changes the values of an image, not its shape (docs/rules.md, Augmentation).

Images are (k, *spatial) float32, each by itself; parameters are (k) numbers unless said otherwise. Functions return a
new tensor.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.training.augmentation.operators import enlarging, kept_voxels, on_device

Floats = NDArray[np.float64]

# Against division by zero in constant images.
_SMALLEST_NORM = 1e-20
_TRUNCATE = 4.0
"""Standard deviations after which scipy cuts off a Gaussian."""


def add_noise_(x: Tensor, std: float, generator: torch.Generator) -> None:
    """Add Gaussian noise to one tensor, in place."""
    x.add_(torch.empty_like(x).normal_(generator=generator), alpha=std)


def blur(x: Tensor, sigma: Floats) -> Tensor:
    """Convolve with a Gaussian of ``sigma`` (k, axes) voxels; scipy's ``reflect`` at the borders."""
    for axis in range(1, x.dim()):
        weights = _half_gaussian(sigma[:, axis - 1])
        radius, size = weights.shape[1] - 1, x.shape[axis]
        padded = x.index_select(axis, _reflected(size, radius, x.device))
        x = padded.narrow(axis, radius, size) * _per_image(weights[:, 0], x)
        for d in range(1, radius + 1):
            both = padded.narrow(axis, radius - d, size) + padded.narrow(axis, radius + d, size)
            x.addcmul_(both, _per_image(weights[:, d], x))
    return x


def _half_gaussian(sigma: Floats) -> Floats:
    """(k, radius + 1) weights at the distances 0, 1, ...; one by one as long as the widest needs, and 0 beyond."""
    radius = (_TRUNCATE * sigma[:, None] + 0.5).astype(int)
    distance = np.arange(radius.max() + 1)
    weights = np.exp(-0.5 * (distance / sigma[:, None]) ** 2) * (distance <= radius)
    return np.asarray(weights / (2 * weights.sum(1, keepdims=True) - weights[:, :1]))


def _reflected(size: int, radius: int, device: torch.device) -> Tensor:
    """Positions of an axis with ``radius`` more on either side, the edge repeated: c b a | a b c | c b a."""
    position = torch.arange(-radius, size + radius, device=device) % (2 * size)
    return torch.minimum(position, 2 * size - 1 - position)


def multiply(x: Tensor, factor: Floats) -> Tensor:
    """Brightness."""
    return x * _per_image(factor, x)


def change_contrast(x: Tensor, factor: Floats) -> Tensor:
    """Multiply the distance to the mean; clip to the range that there was."""
    mean, low, high = _mean(x), _low(x), _high(x)
    return (x - mean).mul_(_per_image(factor, x)).add_(mean).clamp_(low, high)


def change_gamma(x: Tensor, exponent: Floats) -> Tensor:
    """Raise the distance to the minimum to a power; mean and standard deviation stay as they were.

    That makes it of no effect to scale to [0, 1] first, as batchgenerators does.
    """
    mean = _mean(x)
    # As pow_, but faster; 0 stays 0.
    y = (x - _low(x)).log_().mul_(_per_image(exponent, x)).exp_()
    y -= _mean(y)
    return y.mul_(_norm(x - mean) / _norm(y).clamp_min_(_SMALLEST_NORM)).add_(mean)


def lower_resolution(image: Tensor, share: float, axes: range, splines: bool = True) -> Tensor:
    """Keep a share of the voxels of each axis, by nearest neighbour, and enlarge again.

    Args:
        image: One image, (*spatial).
        share: Of the length of each axis.
        axes: That lose resolution.
        splines: Enlarge by cubic splines, else linearly.
    """
    device = image.device
    kept = {axis: max(1, round(image.shape[axis] * share)) for axis in axes}
    small = image
    for axis, count in kept.items():
        small = small.index_select(axis, kept_voxels(count, image.shape[axis], device))
    large = small
    for axis, count in kept.items():
        large = enlarging(count, image.shape[axis], device, splines)(large, axis)
    # Splines overshoot; scikit-image clips to the range of what it enlarges.
    return large.clamp_(small.amin(), small.amax())


def _per_image(values: Floats, x: Tensor) -> Tensor:
    return on_device(values, x.device).view(-1, *(1,) * (x.dim() - 1))


def _axes(x: Tensor) -> tuple[int, ...]:
    return tuple(range(1, x.dim()))


def _mean(x: Tensor) -> Tensor:
    return x.mean(_axes(x), keepdim=True)


def _norm(x: Tensor) -> Tensor:
    """Of an image without mean: the standard deviation times the root of the number of voxels."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=_axes(x), keepdim=True)
    return norm


def _low(x: Tensor) -> Tensor:
    return x.amin(_axes(x), keepdim=True)


def _high(x: Tensor) -> Tensor:
    return x.amax(_axes(x), keepdim=True)
