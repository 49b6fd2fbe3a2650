"""Prediction beside its definition: all logits in double precision, and the whole image in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import Row
from benchmarks.prediction.verdict import fact, told
from tests.inference.export.brute_force import Grids
from tests.inference.models import make_image, write_model
from tests.inference.windows.reference import brute_force
from tests.workflows.bundle.models import write_cascade
from umseg.inference.model import LoadedModel, Stages
from umseg.inference.options import LoadOptions
from umseg.inference.segmentation import region_values
from umseg.inference.windows.strips import bytes_of_row, thinnest
from umseg.inference.windows.tiles import Tiles
from umseg.preprocess.cascade_input import fit_label_map, one_hot

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
    cascade: bool = False

    def model(self, folder: Path) -> Path:
        """Write the model, and return its folder."""
        if self.cascade:
            return write_cascade(folder)
        return write_model(folder, ("0", "1"), self.dimensions, self.order, **self.fields)


SETTINGS = (
    Setting("odd sizes", (23, 31, 17)),
    Setting("smaller than the patch", (5, 20, 3)),
    Setting("anisotropic resampling", (9, 30, 28), (4.0, 0.8, 0.8)),
    Setting("transposed plan", (18, 21, 25), (1.2, 0.9, 1.5), order=(2, 0, 1)),
    Setting("2-D model over a volume", (7, 33, 29), (3.0, 0.7, 0.7), dimensions=2),
    Setting("regions", (19, 24, 21), (1.4, 0.8, 1.0), fields=_REGIONS),
    Setting("cascade", (17, 26, 22), (1.3, 0.9, 0.9), cascade=True),
)


def rows(scratch: Path) -> Iterator[Row]:
    """One row per setting."""
    for number, setting in enumerate(SETTINGS):
        yield _compared(setting, scratch / f"reference_{number}")
    if not torch.cuda.is_available():
        yield told("reference", "the same on a GPU", "left out: there is no NVIDIA GPU")


def _compared(setting: Setting, scratch: Path) -> Row:
    folder, image = setting.model(scratch), make_image(setting.shape)[None] - 2
    by_definition = _loaded(folder)
    stages = by_definition.prepare(image, setting.spacing)
    logits = _logits(by_definition, stages)
    expected, likely = _label_map(by_definition, stages, logits), _probabilities(by_definition, stages, logits)
    equal, heights, furthest = True, _sums_of_each_height(by_definition, stages), 0.0
    for most in heights:
        model = _loaded(folder, most)
        equal &= np.array_equal(model.segment(stages).label_map, expected)
        labels, found = model.probabilities(stages)
        equal &= np.array_equal(labels, expected)
        furthest = max(furthest, float(np.abs(found - likely).max()))
    text = f"labels {'identical' if equal else 'DIFFERENT'}, probabilities within {furthest:.1e}"
    expectation = f"identical, within {CLOSE:g}"
    title = f"{setting.title}, {len(heights)} slab heights"
    return fact("reference", title, text, expectation, equal and furthest <= CLOSE)


def _loaded(folder: Path, most_bytes: int | None = None) -> LoadedModel:
    return LoadedModel(folder, "cpu", LoadOptions(precision="fp32", mirror=True, most_bytes=most_bytes))


def _sums_of_each_height(model: LoadedModel, stages: Stages) -> list[int]:
    """Bytes that the sums of logits may take, for strips of every number of windows."""
    tiles = Tiles.covering(stages[-1].case.data.shape[1:], model.window.patch, model.window.step)
    row = bytes_of_row(tiles, model.card.dataset.num_classes, model.window, len(model.networks))
    counts = range(1, len(tiles.starts[1]) + 1)
    return [row * max(thinnest(tiles), -(-tiles.shape[1] // count) + 1) for count in counts]


def _logits(model: LoadedModel, stages: Stages) -> NDArray[np.float32]:
    case, data = stages[-1].case, stages[-1].case.data
    if model.first_stage is not None:
        first = _label_map(model.first_stage, stages[:-1], _logits(model.first_stage, stages[:-1]))
        fitted = fit_label_map(first, case.properties, model.card.plan, model.configuration)
        data = np.concatenate([data, one_hot(fitted, model.card.dataset.foreground_values)])
    outputs = model.card.dataset.num_classes
    return brute_force(model.networks, torch.from_numpy(data), outputs, model.window).float().numpy()


def _label_map(model: LoadedModel, stages: Stages, logits: NDArray[np.float32]) -> NDArray[Any]:
    return _grids(model, stages).label_map(logits, region_values(model.card))


def _probabilities(model: LoadedModel, stages: Stages, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    values = torch.from_numpy(_grids(model, stages).interpolated(logits)).double()
    likely = values.sigmoid() if model.card.dataset.has_regions else values.softmax(dim=0)
    back = model.card.plan.transpose_backward
    return np.transpose(likely.numpy(), (0, *(axis + 1 for axis in back)))


def _grids(model: LoadedModel, stages: Stages) -> Grids:
    return Grids(stages[-1].case.properties, model.card.plan, model.configuration)
