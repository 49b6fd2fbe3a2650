"""The application of a pipeline of transforms to a batch, on the device that holds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from umseg.training.augmentation.transform import Context, Transform, draw_all, require_shape
from umseg.training.augmentation.warp import centre_crop

Draws = tuple[tuple[Any, ...], ...]
"""The parameters of every transform for every sample of a batch; None where a transform is not applied."""


class Augmentation:
    """Turns cut patches into training samples.

    Args:
        transforms: The pipeline; transforms that need a margin come first.
        context: The facts about the run.
        use_mask: For each channel, whether voxels outside the nonzero region are set back to 0 at the end.
    """

    def __init__(self, transforms: Sequence[Transform[Any]], context: Context, use_mask: Sequence[bool]) -> None:
        self.context = context
        self.transforms = tuple(transforms)
        self.use_mask = tuple(use_mask)
        # The first transforms see the margin; then the samples are cropped.
        self.first = len(list(takewhile(lambda transform: transform.margin, self.transforms)))

    def draw(self, seeds: Sequence[int]) -> Draws:
        """The parameters of all transforms for samples with these seeds: a function of seeds and names alone."""
        return tuple(tuple(draw_all(transform, seeds, self.context)) for transform in self.transforms)

    def sizes(self, draws: Draws, samples: int) -> list[tuple[int, ...]]:
        """The size of the patch that each sample needs: with a margin where a transform asks for it."""
        geometry = self.context.geometry
        margins = [any(params[i] is not None for params in draws[: self.first]) for i in range(samples)]
        return [geometry.initial_patch if margin else geometry.patch for margin in margins]

    def __call__(
        self,
        data: Sequence[Tensor],
        label: Sequence[Tensor],
        draws: Draws,
        out: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        The same parameters give the same sample on the same kind of device, whatever the other samples of the batch
        are, and on a CPU bit for bit.

        Args:
            data: For each sample (channels, *initial_patch) float32, or its centre where ``sizes`` says so.
            label: For each sample (planes, *size) int16 of the same size; -1 outside the nonzero region in the first
                plane.
            draws: The result of ``draw``.
            out: Memory for the result; None allocates it.

        Returns:
            (batch, channels, *patch) float32, and (batch, planes, *patch) int16 without negative values.

        Raises:
            UserError: A transform changed the size of a patch.
        """
        images, labels = out or empty_batch(
            len(data), len(data[0]), len(label[0]), self.context.geometry.patch, data[0].device
        )
        with _one_thread(images.device):
            for i, sample in enumerate(zip(data, label, strict=True)):
                images[i], labels[i] = self._cropped(*sample, [params[i] for params in draws[: self.first]])
            for transform, params in zip(self.transforms[self.first :], draws[self.first :], strict=True):
                transform.apply_batch(images, labels, params)
            for channel, masked in enumerate(self.use_mask):
                if masked:
                    images[:, channel].masked_fill_(labels[:, 0] < 0, 0)
        return images, labels.clamp_(min=0)

    def _cropped(self, image: Tensor, label: Tensor, params: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """The final patch of a sample, after the transforms that see the margin."""
        patch = self.context.geometry.patch
        for transform, param in zip(self.transforms[: self.first], params, strict=True):
            if param is not None:
                before = tuple(image.shape[1:])
                image, label = transform.apply(image, label, param)
                require_shape(transform, (image, label), patch if tuple(image.shape[1:]) == patch else before)
        return centre_crop(image, patch), centre_crop(label, patch)


def empty_batch(
    samples: int, channels: int, planes: int, size: Sequence[int], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Uninitialised (samples, channels, *size) float32 and (samples, planes, *size) int16."""
    label = torch.empty(samples, planes, *size, dtype=torch.int16, device=device)
    return torch.empty(samples, channels, *size, device=device), label


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Compute with one thread on a CPU, as worker processes do: otherwise sums depend on the number of threads."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
