"""The segmentation of one preprocessed image: windows, sums, and labels on the voxels of the original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from umseg.inference.export.label_map import LabelExport
from umseg.inference.windows.batches import BatchSize
from umseg.inference.windows.sliding_window import Progress, finished_slabs
from umseg.inference.windows.strips import choose_strips
from umseg.inference.windows.tiles import Tiles
from umseg.inference.windows.window import SlidingWindow
from umseg.models.card import ModelCard
from umseg.preprocess.case import CaseProperties


def segment_case(
    networks: Sequence[nn.Module],
    data: NDArray[np.float32],
    properties: CaseProperties,
    card: ModelCard,
    window: SlidingWindow,
    device: torch.device,
    precision: torch.dtype,
    progress: Progress | None = None,
    batch: BatchSize | None = None,
) -> NDArray[np.unsignedinteger[Any]]:
    """The label map of a preprocessed image.

    Args:
        networks: Networks on ``device`` in evaluation mode, one per fold; their logits are averaged.
        data: (channels, z, y, x), with the channels of a cascade's first stage.
        properties: Geometry of the image.
        card: The model's card.
        window: The way in which the image is covered.
        device: Device of the networks.
        precision: Number format of the convolutions.
        progress: Function that is told how many windows are done, and how many there are.
        batch: Number of windows in a batch, kept between images; None finds it anew.

    Returns:
        (z, y, x) in the axis order of the image before preprocessing: classes, or with regions their values.

    Raises:
        UserError: There is not enough memory, or a logit is not finite.
    """
    dataset = card.dataset
    tiles = Tiles.covering(data.shape[1:], window.patch, window.step)
    strips = choose_strips(tiles, dataset.num_classes, window, len(networks), device)
    slabs = finished_slabs(
        networks,
        torch.from_numpy(data),
        dataset.num_classes,
        window,
        device,
        precision,
        strips=strips,
        regions=dataset.has_regions,
        batch=batch,
        progress=progress,
    )
    region_values = tuple(dataset.foreground.values()) if dataset.has_regions else None
    export = LabelExport(properties, card.plan, card.configuration, region_values)
    for slab in slabs:
        export.add(slab)
    return export.label_map()
