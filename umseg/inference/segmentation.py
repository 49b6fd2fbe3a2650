"""The segmentation of one preprocessed image: windows, sums, and labels on the voxels of the original."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from umseg.inference.confidence import Agreement
from umseg.inference.export.label_map import LabelExport
from umseg.inference.windows.batches import BatchSize
from umseg.inference.windows.slab import Slab, Strip
from umseg.inference.windows.sliding_window import Progress, finished_slabs
from umseg.inference.windows.strips import choose_strips, most_bytes
from umseg.inference.windows.tiles import Tiles
from umseg.inference.windows.window import SlidingWindow
from umseg.models.card import ModelCard
from umseg.preprocess.case import CaseProperties


@dataclass(frozen=True)
class Networks:
    """Networks that are averaged, and how they are run.

    Attributes:
        networks: Networks on ``device`` in evaluation mode, one per fold; their logits are averaged.
        card: The model's card.
        window: The way in which an image is covered.
        device: Device of the networks.
        precision: Number format of the convolutions.
        batch: Number of windows in a batch, kept between images; None finds it anew for each.
    """

    networks: Sequence[nn.Module]
    card: ModelCard
    window: SlidingWindow
    device: torch.device
    precision: torch.dtype
    batch: BatchSize | None = None

    def strips(self, shape: Sequence[int], share: int = 1) -> list[Strip]:
        """The strips in which an image is worked on.

        Args:
            shape: Voxels of the image, (z, y, x).
            share: Number of models among which the memory is divided.

        Raises:
            UserError: Not even the thinnest strips fit into memory.
        """
        window, tiles = self.window, Tiles.covering(shape, self.window.patch, self.window.step)
        if share > 1:
            window = replace(window, most_bytes=(window.most_bytes or most_bytes(self.device)) // share)
        return choose_strips(tiles, self.card.dataset.num_classes, window, len(self.networks), self.device)

    def slabs(
        self, data: NDArray[np.float32], progress: Progress | None = None, strips: Sequence[Strip] | None = None
    ) -> Iterator[Slab]:
        """The sums of the networks' logits, slab by slab.

        Args:
            data: (channels, z, y, x), with the channels of a cascade's first stage.
            progress: Function that is told how many windows are done, and how many there are.
            strips: The strips; None: those of ``strips``.

        Raises:
            UserError: There is not enough memory, or a logit is not finite.
        """
        return finished_slabs(
            self.networks,
            torch.from_numpy(data),
            self.card.dataset.num_classes,
            self.window,
            self.device,
            self.precision,
            strips=strips or self.strips(data.shape[1:]),
            regions=self.card.dataset.has_regions,
            batch=self.batch,
            progress=progress,
        )

    def export(self, properties: CaseProperties) -> LabelExport:
        """What turns the slabs of a case into its label map."""
        return LabelExport(properties, self.card.plan, self.card.configuration, region_values(self.card))


def region_values(card: ModelCard) -> tuple[int, ...] | None:
    """With regions: the value of each output; else None."""
    return tuple(card.dataset.foreground.values()) if card.dataset.has_regions else None


def segment_case(
    networks: Networks,
    data: NDArray[np.float32],
    properties: CaseProperties,
    progress: Progress | None = None,
    agreement: Agreement | None = None,
    consume: Callable[[Iterator[Slab]], None] | None = None,
) -> NDArray[np.unsignedinteger[Any]]:
    """The label map of a preprocessed image.

    Args:
        networks: The networks.
        data: (channels, z, y, x), with the channels of a cascade's first stage.
        properties: Geometry of the image.
        progress: Function that is told how many windows are done, and how many there are.
        agreement: What counts how far the networks agree, if their sums are kept apart (``SlidingWindow.separate``).
        consume: What else is made of the slabs; it draws all of them.

    Returns:
        (z, y, x) in the axis order of the image before preprocessing: classes, or with regions their values.

    Raises:
        UserError: There is not enough memory, or a logit is not finite.
    """
    export = networks.export(properties)
    slabs = export.passing(networks.slabs(data, progress))
    if agreement is not None:
        slabs = agreement.passing(slabs)
    if consume is not None:
        consume(slabs)
    deque(slabs, maxlen=0)
    return export.label_map()
