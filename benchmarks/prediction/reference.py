"""Prediction beside its definition: all logits in double precision, and the whole image in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Row
from benchmarks.prediction.verdict import fact
from tests.inference.export.brute_force import Grids
from tests.inference.models import make_image, write_model
from tests.inference.windows.reference import CPU, brute_force
from umseg.inference.export.probabilities import collect_probabilities
from umseg.inference.model import LoadedModel, Stages
from umseg.inference.options import LoadOptions
from umseg.inference.segmentation import Networks, region_values, segment_case
from umseg.inference.windows.strips import bytes_of_row, thinnest
from umseg.inference.windows.tiles import Tiles
from umseg.inference.windows.window import SlidingWindow

CLOSE = 1e-3
_REGIONS = {
    "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3},
    "regions_class_order": [1, 2, 3],
}


@dataclass(frozen=True)
class Setting:
    """An image and a model."""

    title: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    dimensions: int = 3
    order: tuple[int, int, int] = (0, 1, 2)
    fields: dict[str, Any] = field(default_factory=dict)


SETTINGS = (
    Setting("odd sizes", (23, 31, 17)),
    Setting("smaller than the patch", (5, 20, 3)),
    Setting("anisotropic resampling", (9, 30, 28), (4.0, 0.8, 0.8)),
    Setting("transposed plan", (18, 21, 25), (1.2, 0.9, 1.5), order=(2, 0, 1)),
    Setting("2-D model over a volume", (7, 33, 29), (3.0, 0.7, 0.7), dimensions=2),
    Setting("regions", (19, 24, 21), (1.4, 0.8, 1.0), fields=_REGIONS),
)


def rows(scratch: Path) -> Iterator[Row]:
    """One row per setting."""
    for number, setting in enumerate(SETTINGS):
        yield _compared(setting, scratch / f"reference_{number}")


def _compared(setting: Setting, scratch: Path) -> Row:
    folder = write_model(scratch, ("0", "1"), setting.dimensions, setting.order, **setting.fields)
    model = LoadedModel(folder, "cpu", LoadOptions(precision="fp32"))
    prepared: Stages = model.prepare(make_image(setting.shape)[None], setting.spacing)
    case, card = prepared[-1].case, model.card
    outputs, regions = card.dataset.num_classes, region_values(card)
    window = SlidingWindow(model.configuration.patch_size, mirror_axes=(setting.dimensions - 1,))
    logits = brute_force(model.networks, torch.from_numpy(case.data), outputs, window)
    grids = Grids(case.properties, card.plan, model.configuration)
    expected = grids.label_map(logits.float().numpy(), regions)
    likely = _probabilities(grids.interpolated(logits.float().numpy()), regions is not None)
    tiles = Tiles.covering(case.data.shape[1:], window.patch, window.step)
    equal, ways, furthest = True, 0, 0.0
    for count in range(1, len(tiles.starts[1]) + 1):
        most = bytes_of_row(tiles, outputs, window, 2) * max(thinnest(tiles), -(-tiles.shape[1] // count) + 1)
        run = Networks(model.networks, card, replace(window, most_bytes=most), CPU, torch.float32, room=10**10)
        equal &= np.array_equal(segment_case(run, case.data, case.properties), expected)
        found = collect_probabilities(
            run.slabs(case.data, run.strips(case.properties)),
            outputs, case.properties, card.plan, model.configuration, regions=regions is not None,
        )  # fmt: skip
        back = np.transpose(likely, (0, *(axis + 1 for axis in card.plan.transpose_backward)))
        furthest, ways = max(furthest, float(np.abs(found - back).max())), ways + 1
    text = f"labels {'identical' if equal else 'DIFFERENT'}, probabilities within {furthest:.1e}, {ways} slab heights"
    expectation = f"identical, within {CLOSE:g}"
    return fact("reference", setting.title, text, expectation, equal and furthest <= CLOSE)


def _probabilities(logits: np.ndarray, regions: bool) -> np.ndarray:
    values = torch.from_numpy(logits).double()
    return (values.sigmoid() if regions else values.softmax(dim=0)).numpy()
