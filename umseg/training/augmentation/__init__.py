"""Augmentation: the transforms, order, probabilities and ranges of batchgenerators, in torch.

Source: docs/rules.md, Augmentation.

Runs on the device that holds the batch. Randomness is drawn first, by a pure function; then each transform is applied
to the samples and channels that it was drawn for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.training.augmentation import intensity
from umseg.training.augmentation.draws import Draws, draw_each
from umseg.training.augmentation.geometry import Geometry, patch_geometry
from umseg.training.augmentation.operators import on_device, small_pieces
from umseg.training.augmentation.spatial import centre_crop, turn
from umseg.training.augmentation.style import STYLES, StyleName

__all__ = ["STYLES", "Augmentation", "Geometry", "StyleName", "empty_batch", "patch_geometry"]


class Augmentation:
    """Turns cut patches into training samples.

    Args:
        patch: Patch size that the network sees, 2-D or 3-D.
        use_mask: Per channel: voxels outside the nonzero region are set back to 0 at the end.
        mirror_axes: Spatial axes that are mirrored; None: all.
        style: Whose variants of the transforms.
    """

    def __init__(
        self,
        patch: Sequence[int],
        use_mask: Sequence[bool],
        mirror_axes: tuple[int, ...] | None = None,
        style: StyleName = "umamba",
    ) -> None:
        self.patch = tuple(patch)
        self.geometry = patch_geometry(patch, mirror_axes)
        self.use_mask = tuple(use_mask)
        self.style = STYLES[style]

    def sizes(self, channels: int, seeds: Sequence[int]) -> list[tuple[int, ...]]:
        """Patch that each sample of a batch needs: the initial one where it will be turned, else the final one."""
        turned = draw_each(tuple(seeds), channels, self.geometry, self.style).turned
        return [self.geometry.initial_patch if turn else self.patch for turn in turned]

    def __call__(
        self,
        data: Sequence[Tensor],
        label: Sequence[Tensor],
        seeds: Sequence[int],
        out: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            data: Per sample (channels, *initial_patch) float32, or the middle of it where ``sizes`` says so.
            label: Per sample (planes, *size) int16 of the same size; -1 outside the nonzero region in the first plane.
            seeds: Of each sample. The same seed makes the same of a sample on the same kind of device, whatever the
                others of the batch are, bit for bit on a CPU.
            out: Where to put the result; None: in new memory.

        Returns:
            (batch, channels, *patch) float32, and (batch, planes, *patch) int16 without negative values.
        """
        channels, planes, device = len(data[0]), len(label[0]), data[0].device
        draws = draw_each(tuple(seeds), channels, self.geometry, self.style)
        images, labels = out or empty_batch(len(data), channels, planes, self.patch, device)
        with _one_thread(device):
            for i, cut in enumerate(zip(data, label, strict=True)):
                images[i], labels[i] = self._final(*cut, draws.angles[i], float(draws.zoom[i]))
            for image, seed, std in zip(images, seeds, draws.noise, strict=True):
                if std:
                    intensity.add_noise_(image, float(std), torch.Generator(device).manual_seed(seed))
            self._change_intensity(images, draws)
            for image, target, mirrored in zip(images, labels, draws.mirrored, strict=True):
                axes = (np.flatnonzero(mirrored) - len(self.patch)).tolist()
                if axes:
                    image.copy_(image.flip(axes))
                    target.copy_(target.flip(axes))
            for channel, masked in enumerate(self.use_mask):
                if masked:
                    images[:, channel].masked_fill_(labels[:, 0] < 0, 0)
        return images, labels.clamp_(min=0)

    def _final(self, image: Tensor, label: Tensor, angles: NDArray[np.float64], zoom: float) -> tuple[Tensor, Tensor]:
        """The final patch of a sample, turned where that was drawn."""
        if zoom == 1 and not angles.any():
            return centre_crop(image, self.patch), centre_crop(label, self.patch)
        axes = self.geometry.turned_axes
        # Slices that are turned one by one take the place of channels.
        slices, label_slices = (x.reshape(-1, *x.shape[-axes:]) for x in (image, label))
        turned, turned_label = turn(slices, label_slices, self.patch[-axes:], angles.tolist(), zoom, self.style.splines)
        return turned.view(-1, *self.patch), turned_label.view(-1, *self.patch)

    def _change_intensity(self, images: Tensor, draws: Draws) -> None:
        """Transforms #3 to #8, in place and in the published order."""
        rows = images.flatten(0, 1)
        _apply(intensity.blur, rows, draws.blur.reshape(len(rows), -1), 0)
        _apply(intensity.multiply, rows, draws.brightness.ravel(), 1)
        _apply(intensity.change_contrast, rows, draws.contrast.ravel(), 1)
        axes = range(int(self.geometry.in_plane), len(self.patch))
        for row, share in zip(rows, draws.resolution.ravel(), strict=True):
            if share != 1:
                row.copy_(intensity.lower_resolution(row, float(share), axes, self.style.splines))
        _apply(_on_negative(intensity.change_gamma), rows, draws.gamma_inverted.ravel(), 1)
        _apply(intensity.change_gamma, rows, draws.gamma.ravel(), 1)


def empty_batch(
    samples: int, channels: int, planes: int, size: Sequence[int], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """(samples, channels, *size) float32 and (samples, planes, *size) int16."""
    label = torch.empty(samples, planes, *size, dtype=torch.int16, device=device)
    return torch.empty(samples, channels, *size, device=device), label


Change = Callable[[Tensor, NDArray[np.float64]], Tensor]


def _apply(change: Change, images: Tensor, values: NDArray[np.float64], unchanged: float) -> None:
    """Change in place the images whose value, or any of whose values, says so.

    A CPU takes them one by one; then also every temporary has the same size, and freed memory is of use again.
    """
    chosen = np.flatnonzero((values != unchanged).reshape(len(values), -1).any(axis=1))
    if small_pieces(images.device):
        for i in chosen:
            images[i : i + 1] = change(images[i : i + 1], values[i : i + 1])
    elif len(chosen):
        index = on_device(chosen, images.device)
        images.index_copy_(0, index, change(images.index_select(0, index), values[chosen]))


def _on_negative(change: Change) -> Change:
    return lambda images, values: -change(-images, values)


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """On a CPU compute with one thread, as worker processes do: sums would else depend on the number of threads."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
