"""Transforms that change the intensities of single channels.

Functions on images take (k, *spatial) float32, of which each image is changed independently of the others, and return a
new tensor.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from umseg.training.augmentation.axis_operators import on_device, small_pieces
from umseg.training.augmentation.transform import Floats, Transform


class ChannelParams(NamedTuple):
    """The strength of a transform for the channels that it changes.

    Attributes:
        channels: (k) indices of the channels that are changed.
        values: (k, ...) strength of the change, e.g. a factor.
    """

    channels: NDArray[np.int64]
    values: Floats


def some_channels(
    rng: np.random.Generator, probability: float, channel_probability: float, channels: int
) -> NDArray[np.int64]:
    """The indices of the channels of one sample that are changed, which may be none.

    Args:
        rng: Source of randomness.
        probability: Share of the samples that are changed.
        channel_probability: Share of the channels of such a sample that are changed.
        channels: Number of channels.
    """
    if rng.random() >= probability:
        return np.empty(0, np.int64)
    return np.flatnonzero(rng.random(channels) < channel_probability)


class ChannelTransform(Transform[ChannelParams]):
    """A change of channels that neither moves a voxel nor looks at another channel or at the label map."""

    @abstractmethod
    def change(self, images: Tensor, values: Floats) -> Tensor:
        """Changed copies of images.

        Args:
            images: (k, *spatial) float32: channels of any samples.
            values: (k, ...) the values of ``ChannelParams``.
        """

    def apply(self, image: Tensor, label: Tensor, params: ChannelParams) -> tuple[Tensor, Tensor]:
        """Change one sample in place."""
        self._change(image, params.channels, params.values)
        return image, label

    def apply_batch(self, images: Tensor, labels: Tensor, params: Sequence[ChannelParams | None]) -> None:
        """Change the channels of all samples together."""
        channels = images.shape[1]
        chosen = [(number * channels + p.channels, p.values) for number, p in enumerate(params) if p is not None]
        if chosen:
            rows, values = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
            self._change(images.view(-1, *images.shape[2:]), rows, values)

    def _change(self, images: Tensor, rows: NDArray[np.int64], values: Floats) -> None:
        """Change some images in place.

        A CPU takes them one by one: every temporary tensor then has the same size, and freed memory can be used again.
        """
        if small_pieces(images.device):
            for row, value in zip(rows.tolist(), values, strict=True):
                images[row : row + 1] = self.change(images[row : row + 1], value[None])
        else:
            index = on_device(rows, images.device)
            images.index_copy_(0, index, self.change(images.index_select(0, index), values))


def all_channels(values: Floats) -> ChannelParams:
    """A value for each channel, all of which are changed."""
    return ChannelParams(np.arange(len(values)), values)


def per_image(values: Floats, images: Tensor) -> Tensor:
    """One number per image, in the shape that multiplies images."""
    return on_device(values, images.device).view(-1, *(1,) * (images.dim() - 1))


def spatial_axes(images: Tensor) -> tuple[int, ...]:
    """All axes but the first."""
    return tuple(range(1, images.dim()))


def mean(images: Tensor) -> Tensor:
    """Mean of each image."""
    return images.mean(spatial_axes(images), keepdim=True)
