"""Small images, of which several go through the networks together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from umseg.common.memory import explained_memory
from umseg.inference.windows.batches import BatchSize, batch_size
from umseg.inference.windows.finite import FiniteCheck
from umseg.inference.windows.runner import Job, Runner
from umseg.inference.windows.slab import Slab
from umseg.inference.windows.strips import REMEDY
from umseg.inference.windows.tiles import Tiles
from umseg.inference.windows.window import SlidingWindow


@torch.inference_mode()
def predict_small(
    networks: Sequence[nn.Module],
    images: Iterable[Tensor],
    num_classes: int,
    window: SlidingWindow,
    device: torch.device,
    precision: torch.dtype,
    *,
    batch: BatchSize | None = None,
) -> Iterator[Slab]:
    """The weighted sums of whole images, of which those in the same batch are held in memory together.

    Args:
        networks: Networks on ``device`` in evaluation mode, one per fold; their logits are averaged.
        images: (channels, z, y, x) float32 on the CPU, of any sizes; they are drawn as they are needed.
        num_classes: Number of channels of the networks' output.
        window: The way in which each image is covered. Strips and windows that are left out are for large images only.
        device: Device of the networks.
        precision: Number format of the convolutions.
        batch: Number of windows in a batch, kept between calls; None finds it anew.

    Yields:
        A slab per image, in their order: all planes and rows, in memory of its own; all values are finite. On CUDA that
        is certain only after the last slab.

    Raises:
        UserError: There is not enough memory, or a logit is not finite.
    """
    runner = Runner(networks, num_classes, window, device, precision, batch or batch_size(window, device))
    check = FiniteCheck(precision, device)
    jobs = _jobs(images, window, runner)
    with explained_memory("Prediction", remedy=REMEDY):
        while together := list(islice(jobs, runner.batch.size)):
            runner.add(together)
            for job in together:
                tiles = job.section.tiles
                if job.corner == tuple(starts[-1] for starts in tiles.starts):
                    # All planes are one slab; it is not asked for another, which would clear it.
                    slab = next(job.section.sums.finish(tiles.shape[0]))
                    check.look(slab.sums)
                    yield slab
    check.end()


def _jobs(images: Iterable[Tensor], window: SlidingWindow, runner: Runner) -> Iterator[Job]:
    for data in images:
        tiles = Tiles.covering(data.shape[1:], window.patch, window.step)
        section = runner.section(data, tiles, tiles.shape[1], tiles.shape[0])
        yield from (Job(section, corner) for corner in tiles.corners(tiles.whole))
