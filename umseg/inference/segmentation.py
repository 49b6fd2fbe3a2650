"""The segmentation of one preprocessed image: windows, sums, and labels on the voxels of the original."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from umseg.common.memory import SMALL_BYTES
from umseg.inference.confidence import Agreement
from umseg.inference.export.label_map import LabelExport
from umseg.inference.export.memory import ExportMemory, export_memory
from umseg.inference.export.target import label_numbers
from umseg.inference.windows.batches import BatchSize, batch_size
from umseg.inference.windows.forward import CPU
from umseg.inference.windows.memory import forward_bytes, sums_bytes
from umseg.inference.windows.slab import Slab, Strip
from umseg.inference.windows.sliding_window import Progress, finished_slabs
from umseg.inference.windows.strips import MOST_BYTES, bytes_of_row, choose_strips, most_bytes, share_of
from umseg.inference.windows.tiles import Tiles, with_depth
from umseg.inference.windows.window import SlidingWindow
from umseg.models.card import ModelCard
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.foresight import preprocessed_bytes


@dataclass(frozen=True)
class Networks:
    """Networks that are averaged, and how they are run.

    Attributes:
        networks: Networks on ``device`` in evaluation mode, one per fold; their logits are averaged.
        card: The model's card.
        window: The way in which an image is covered.
        device: Device of the networks.
        precision: Number format of the convolutions.
        room: Bytes of the computer's memory that a case may take.
        batch: Number of windows in a batch, kept between images; None finds it anew for each.
    """

    networks: Sequence[nn.Module]
    card: ModelCard
    window: SlidingWindow
    device: torch.device
    precision: torch.dtype
    room: int
    batch: BatchSize | None = None

    def strips(self, properties: CaseProperties, share: int = 1, *, foreseen: bool = False) -> list[Strip]:
        """The strips in which a case is worked on.

        Args:
            properties: Geometry of the case.
            share: Number of models among which the memory is divided.
            foreseen: Whether the case has not been prepared yet. Otherwise strips may become thinner, because memory
                that was there before has gone.

        Raises:
            UserError: Not even the thinnest strips fit into memory.
        """
        window, tiles = self.window, self._tiles(properties)
        classes, count = self.card.dataset.num_classes, len(self.networks)
        # What a small image needs besides is not worth the measurement.
        small = bytes_of_row(tiles, classes, window, count) * tiles.shape[1] < SMALL_BYTES
        most = window.most_bytes or (MOST_BYTES if small else self._most_bytes(properties, share, foreseen))
        return choose_strips(tiles, classes, window, count, self.device, most // share)

    def _most_bytes(self, properties: CaseProperties, share: int, foreseen: bool) -> int:
        """Bytes that the sums of a case may take, those of all models together."""
        beside = self._beside(properties)
        if self.device != CPU:
            return most_bytes(self.device, beside)
        prepared = share * preprocessed_bytes(properties, self._channels)
        most = share_of(self.room, beside + prepared)
        return most if foreseen else min(most, most_bytes(self.device, beside))

    def memory(self, properties: CaseProperties, strips: Sequence[Strip]) -> SegmentationMemory:
        """The most bytes that the windows, the sums and the label map of a case take at once.

        Args:
            properties: Geometry of the case.
            strips: The strips in which it is worked on.
        """
        tiles, classes = self._tiles(properties), self.card.dataset.num_classes
        sums = sums_bytes(tiles, strips, self._batch, classes, self.window, len(self.networks))
        gpu = self.device.type != "cpu"
        on_gpu = gpu and sums <= most_bytes(self.device, self.forward_bytes)
        export = self._export_memory(properties, strips, on_gpu)
        image = preprocessed_bytes(properties, self._channels)
        host = export.host + (0 if on_gpu else sums) + (0 if gpu else self.forward_bytes)
        device = (self.forward_bytes if gpu else 0) + (sums + image + export.device if on_gpu else 0)
        return SegmentationMemory(export.label_map, host, device)

    @cached_property
    def forward_bytes(self) -> int:
        """Bytes that a batch of windows takes on its way to the logits."""
        configuration = self.card.configuration
        unit = [math.prod(stage[axis] for stage in configuration.strides) for axis in range(configuration.dimensions)]
        return forward_bytes(
            self.networks[0],
            self._channels,
            self.window.patch,
            self.device,
            self.precision,
            batch=self._batch,
            unit=unit,
        )

    @property
    def _channels(self) -> int:
        return self.card.configuration.input_channels(self.card.dataset)

    @property
    def _batch(self) -> int:
        return (self.batch or batch_size(self.window, self.device)).most

    def _tiles(self, properties: CaseProperties) -> Tiles:
        return Tiles.covering(properties.shape_after_resampling, self.window.patch, self.window.step)

    def _beside(self, properties: CaseProperties) -> int:
        """Bytes on the device of the networks that all but the sums takes."""
        whole = self._tiles(properties).whole
        on_gpu = self.device.type != "cpu"
        export = self._export_memory(properties, [whole], on_gpu)
        return self.forward_bytes + (export.device if on_gpu else export.host)

    def _export_memory(self, properties: CaseProperties, strips: Sequence[Strip], on_gpu: bool) -> ExportMemory:
        numbers = label_numbers(self.card.dataset.num_classes, region_values(self.card))
        return export_memory(
            properties,
            self.card.plan,
            self.card.dataset.num_classes,
            highest=int(numbers.max()),
            strips=strips,
            planes=min(with_depth(self.window.patch)[0], properties.shape_after_resampling[0]),
            on_device=on_gpu,
        )

    def slabs(
        self, data: NDArray[np.float32], strips: Sequence[Strip], progress: Progress | None = None
    ) -> Iterator[Slab]:
        """The sums of the networks' logits, slab by slab.

        Args:
            data: (channels, z, y, x), with the channels of a cascade's first stage.
            strips: What is worked on at once.
            progress: Function that is told how many windows are done, and how many there are.

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
            strips=strips,
            regions=self.card.dataset.has_regions,
            batch=self.batch,
            progress=progress,
        )

    def export(self, properties: CaseProperties) -> LabelExport:
        """What turns the slabs of a case into its label map."""
        return LabelExport(properties, self.card.plan, self.card.configuration, region_values(self.card))


@dataclass(frozen=True)
class SegmentationMemory:
    """The most bytes that the segmentation of a preprocessed image takes at once.

    Attributes:
        label_map: The label map, which is left in the end.
        host: All that is in the computer's memory.
        on_gpu: In the GPU's memory; 0 where the networks run on the CPU.
    """

    label_map: int
    host: int
    on_gpu: int


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
    slabs = export.passing(networks.slabs(data, networks.strips(properties), progress))
    if agreement is not None:
        slabs = agreement.passing(slabs)
    if consume is not None:
        consume(slabs)
    deque(slabs, maxlen=0)
    return export.label_map()
