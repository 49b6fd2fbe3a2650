"""The way of a preprocessed image to its label map, against everything in memory at once and in double precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.inference.export.brute_force import Grids
from tests.inference.models import make_image, write_model
from tests.inference.windows.reference import CPU, brute_force
from umseg.common.errors import UserError
from umseg.inference.model import LoadedModel
from umseg.inference.options import LoadOptions
from umseg.inference.segmentation import Networks, segment_case
from umseg.inference.windows.strips import bytes_of_row, choose_strips, thinnest
from umseg.inference.windows.tiles import Tiles
from umseg.inference.windows.window import SlidingWindow

REGIONS: dict[str, Any] = {
    "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": [1, 3]},
    "regions_class_order": (1, 3, 2),
}
ALIKE, FINE, FLAT = (1.0, 1.0, 1.0), (1.3, 0.8, 0.7), (3.5, 0.9, 1.1)


@pytest.mark.parametrize(
    ("dimensions", "order", "spacing", "fields"),
    [
        (3, (0, 1, 2), ALIKE, {}),
        (3, (2, 0, 1), FINE, {}),
        (3, (1, 2, 0), FLAT, REGIONS),
        (2, (0, 1, 2), FLAT, {}),
        (2, (2, 0, 1), ALIKE, REGIONS),
    ],
)
@pytest.mark.parametrize("shape", [(9, 19, 13), (5, 21, 4)])
def test_label_maps_are_those_of_all_logits_in_double_precision(
    tmp_path: Path,
    shape: tuple[int, int, int],
    dimensions: int,
    order: tuple[int, int, int],
    spacing: tuple[float, float, float],
    fields: dict[str, Any],
) -> None:
    folder = write_model(tmp_path / "model", ("0", "1"), dimensions, order, **fields)
    model = LoadedModel(folder, "cpu", LoadOptions(precision="fp32"))
    case = model.prepare(make_image(shape)[None], spacing)[-1].case
    dataset, patch = model.card.dataset, model.configuration.patch_size
    data, window = torch.from_numpy(case.data), SlidingWindow(patch, mirror_axes=(dimensions - 1,))
    logits = brute_force(model.networks, data, dataset.num_classes, window)
    regions = tuple(dataset.foreground.values()) if dataset.has_regions else None
    grids = Grids(case.properties, model.card.plan, model.configuration)
    expected = grids.label_map(logits.float().numpy(), regions)
    assert len(np.unique(expected)) > 1, "a constant label map shows nothing"
    for way in (window, in_thinnest_strips(window, data.shape[1:], dataset.num_classes)):
        networks = Networks(model.networks, model.card, way, CPU, torch.float32, room=10**10)
        found = segment_case(networks, case.data, case.properties)
        np.testing.assert_array_equal(found, expected)


def in_thinnest_strips(window: SlidingWindow, shape: tuple[int, ...], classes: int) -> SlidingWindow:
    """The same window with as little memory for the sums as possible."""
    tiles = Tiles.covering(shape, window.patch, window.step)
    most = thinnest(tiles) * bytes_of_row(tiles, classes, window, 2)
    thin = replace(window, batch_size=1, most_bytes=most)
    assert len(choose_strips(tiles, classes, thin, 2, CPU)) == len(tiles.starts[1])
    with pytest.raises(UserError, match="Prediction needs more memory than it may use"):
        choose_strips(tiles, classes, replace(thin, most_bytes=most - 1), 2, CPU)
    return thin
