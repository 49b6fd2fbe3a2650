"""Sliding-window prediction with Gaussian weights (docs/rules.md, Inference)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from umseg.common.errors import UserError
from umseg.common.memory import explained_memory, require_memory
from umseg.common.text import by, few
from umseg.kernels.runtime.memory_format import channels_last
from umseg.models.device import autocast

PEAK = 10.0
_BYTES = 4  # of a logit
_REMEDY = "Check the spacing of the image; predict where there is more memory, or with a model for coarser images."


@dataclass(frozen=True)
class SlidingWindow:
    """The way in which an image is covered with patches.

    Attributes:
        patch: Patch size; two axes mean that every slice along axis 0 is covered separately.
        batch_size: Number of patches that are computed together.
        step: Distance of neighbouring patches as a fraction of the patch.
        mirror_axes: Axes of the patch that are flipped; the logits are averaged over all combinations of flips. Empty:
            no mirroring.
    """

    patch: tuple[int, ...]
    batch_size: int
    step: float = 0.5
    mirror_axes: tuple[int, ...] = ()


@torch.inference_mode()
def predict_logits(
    networks: Sequence[nn.Module],
    data: Tensor,
    num_classes: int,
    window: SlidingWindow,
    device: torch.device,
    precision: torch.dtype,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Average the networks' logits over all patches that cover a voxel.

    The sums are kept on the device or, if its memory does not suffice, on the CPU.

    Args:
        networks: Networks on ``device`` in evaluation mode, one per fold; their logits are averaged.
        data: (channels, z, y, x) float32 on the CPU.
        num_classes: Number of channels of the networks' output.
        window: The way in which the image is covered.
        device: Device of the networks.
        precision: Number format of the convolutions.
        progress: Function that is told after every batch how many patches are done, and how many there are. On CUDA
            they are done when they are queued: nothing waits for the device.

    Returns:
        (num_classes, z, y, x) float32 logits, all finite.

    Raises:
        UserError: There is not enough memory, or a logit is not finite.
    """
    voxels = math.prod(max(size, side) for size, side in zip(data.shape[1:], _with_depth(window.patch), strict=True))
    found = f"{by(data.shape[1:])} voxels after resampling, {num_classes} classes"
    places = [device, torch.device("cpu")] if device.type != "cpu" else [device]
    with explained_memory("Prediction", found=found, remedy=_REMEDY):
        for place in places:
            if place.type == "cpu":
                # The sums of all classes, and of the weights.
                require_memory(_BYTES * (num_classes + 1) * voxels, "Prediction", found=found, remedy=_REMEDY)
            try:
                logits = _predict(networks, data.to(place), num_classes, window, device, precision, progress)
                break
            except torch.cuda.OutOfMemoryError:
                if place == places[-1]:
                    raise
                torch.cuda.empty_cache()
    _require_finite(logits, precision)
    return logits


def _require_finite(logits: Tensor, precision: torch.dtype) -> None:
    """Refuse logits of which the most probable class means nothing; the host waits for the device once.

    Raises:
        UserError: A logit is NaN or infinite.
    """
    # The extremes need no memory, and are NaN where any value is.
    extremes = torch.stack([extreme for output in logits for extreme in output.aminmax()])
    finite = torch.isfinite(extremes).reshape(len(logits), 2).all(dim=1).tolist()
    if not all(finite):
        wrong = [str(number) for number, is_finite in enumerate(finite) if not is_finite]
        half = precision == torch.float16
        raise UserError(
            "The network's output is not finite (NaN or infinity), so that it segments nothing.",
            found=f"output {few(wrong)} of {len(finite)}, precision {str(precision).removeprefix('torch.')}",
            expected="finite numbers",
            remedy="Predict with --precision fp32."
            if half
            else "Check that the model has not diverged in training, "
            "and that the image is one of those that it was trained for.",
        )


def _predict(
    networks: Sequence[nn.Module],
    data: Tensor,
    num_classes: int,
    window: SlidingWindow,
    device: torch.device,
    precision: torch.dtype,
    progress: Callable[[int, int], None] | None,
) -> Tensor:
    flat, patch = len(window.patch) == 2, _with_depth(window.patch)
    padded, inside = pad_to(data, patch)
    total = torch.zeros((num_classes, *padded.shape[1:]), device=data.device)
    weight_sum = torch.zeros(padded.shape[1:], device=data.device)
    weight = gaussian_weight(window.patch).reshape(patch)
    all_corners, done = patch_corners(padded.shape[1:], patch, window.step), 0
    for corners in _chunks(all_corners, window.batch_size):
        places = [_place(corner, patch) for corner in corners]
        batch = torch.stack([padded[place] for place in places]).to(device, non_blocking=True)
        if flat:
            batch = batch.squeeze(2)
        logits = _average(networks, batch, window.mirror_axes, device, precision)
        logits = logits.reshape(len(corners), num_classes, *patch).to(total.device)
        local = weight.to(total.device)
        for place, patch_logits in zip(places, logits, strict=True):
            total[place].addcmul_(patch_logits, local)
            weight_sum[place[1:]] += local
        done += len(corners)
        if progress is not None:
            progress(done, len(all_corners))
    total /= weight_sum
    return total[inside]


def _with_depth(patch: tuple[int, ...]) -> tuple[int, ...]:
    """The patch as (z, y, x); one of two axes is a slice."""
    return (1, *patch) if len(patch) == 2 else patch


def _place(corner: Sequence[int], patch: Sequence[int]) -> tuple[slice, ...]:
    """The index of a patch in an array (channels, *spatial)."""
    return slice(None), *(slice(c, c + p) for c, p in zip(corner, patch, strict=True))


def _average(
    networks: Sequence[nn.Module],
    batch: Tensor,
    mirror_axes: tuple[int, ...],
    device: torch.device,
    precision: torch.dtype,
) -> Tensor:
    """Mean logits over networks and flips, float32."""
    flips = [
        tuple(axis + 2 for axis in axes)
        for count in range(len(mirror_axes) + 1)
        for axes in itertools.combinations(mirror_axes, count)
    ]
    total: Tensor | None = None
    for axes in flips:
        flipped = channels_last(batch.flip(axes) if axes else batch)
        for network in networks:
            with autocast(device, precision):
                logits = network(flipped).float()
            logits = logits.flip(axes) if axes else logits
            total = logits if total is None else total.add_(logits)
    assert total is not None
    return total.div_(len(flips) * len(networks))


def tile_starts(size: int, patch: int, step: float) -> tuple[int, ...]:
    """First voxels of the patches along one axis: evenly spread, at most ``step`` patches apart.

    Source: docs/rules.md, Inference.

    >>> tile_starts(110, 64, 0.5)
    (0, 23, 46)
    """
    if size <= patch:
        return (0,)
    count = math.ceil((size - patch) / (patch * step)) + 1
    return tuple(round(i * (size - patch) / (count - 1)) for i in range(count))


def patch_corners(shape: Sequence[int], patch: Sequence[int], step: float) -> list[tuple[int, ...]]:
    """Lower corners of all patches in raster order; along an axis where the patch is 1 every voxel is visited."""
    axes = [tile_starts(s, p, step) if p > 1 else tuple(range(s)) for s, p in zip(shape, patch, strict=True)]
    return list(itertools.product(*axes))


@lru_cache(maxsize=4)
def gaussian_weight(patch: tuple[int, ...]) -> Tensor:
    """Weight of every voxel of a patch: a Gaussian of sigma = patch / 8 about ``patch // 2``, peak 10.

    Source: docs/rules.md, Inference.

    The published weights are float16, in which the far corners underflow to zero and are set to the smallest other
    weight. Therefore the smallest value here is that of float16, and no voxel has weight zero.
    """
    weight = np.ones(())
    for size in patch:
        delta = np.zeros(size)
        delta[size // 2] = 1
        weight = np.multiply.outer(weight, gaussian_filter1d(delta, size / 8, mode="constant"))
    weight *= PEAK / weight.max()
    smallest = float(np.finfo(np.float16).smallest_subnormal)
    return torch.from_numpy(np.maximum(weight, smallest).astype(np.float32))


def pad_to(data: Tensor, patch: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad with zeros on both sides to at least the patch; an odd voxel goes to the far side.

    Args:
        data: (channels, *spatial).
        patch: Smallest size per spatial axis.

    Returns:
        The padded data and the index of the original in it: ``padded[inside]`` equals ``data``.
    """
    missing = [max(p - s, 0) for s, p in zip(data.shape[1:], patch, strict=True)]
    before = [m // 2 for m in missing]
    inside = _place(before, data.shape[1:])
    if not any(missing):
        return data, inside
    widths = [side for b, m in zip(reversed(before), reversed(missing), strict=True) for side in (b, m - b)]
    return F.pad(data, widths), inside


def _chunks(items: list[tuple[int, ...]], size: int) -> Iterator[list[tuple[int, ...]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
