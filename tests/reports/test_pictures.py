"""Overlay pictures: drawn whole, in colours that tell the labels apart."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np

from umseg.reports.pictures import Slice, draw_overlays


def test_picture_shows_labels_and_differences(tmp_path: Path) -> None:
    image = np.tile(np.linspace(0, 100, 40), (30, 1))
    reference = np.zeros((30, 40), int)
    reference[5:15, 5:15] = 1
    reference[18:28, 20:35] = 2
    prediction = reference.copy()
    prediction[5:15, 5:8] = 0
    path = tmp_path / "overlay.png"
    draw_overlays(path, [Slice("case", image, reference, prediction)] * 2, {"liver": 1, "kidney": 2})
    pixels = matplotlib.image.imread(path)[..., :3]
    assert pixels.shape[0] > 200
    assert pixels.shape[1] > 1000
    coloured = pixels[np.ptp(pixels, axis=-1) > 0.2]
    assert len(np.unique(coloured.round(1), axis=0)) > 5
    red = (pixels[..., 0] > 0.95) & (pixels[..., 1] < 0.3)
    assert red.any()
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_constant_image_can_be_drawn(tmp_path: Path) -> None:
    empty = np.zeros((8, 8))
    draw_overlays(tmp_path / "x.png", [Slice("empty", empty, empty, empty)], {"a": 1})
    assert (tmp_path / "x.png").stat().st_size > 0


def test_a_legend_of_many_classes_covers_no_panel(tmp_path: Path) -> None:
    labels = {f"gyrus number {value}": value for value in range(1, 119)}
    image = np.zeros((30, 40))
    label = np.arange(1200).reshape(30, 40) % 119
    few = {name: value for name, value in labels.items() if value < 4}
    for file, names in (("few.png", few), ("many.png", labels)):
        draw_overlays(tmp_path / file, [Slice("case", image, label, label)], names)
    small, large = (matplotlib.image.imread(tmp_path / file)[..., :3] for file in ("few.png", "many.png"))
    assert small.shape[1] == large.shape[1]
    # 18 more rows of names.
    assert large.shape[0] - small.shape[0] > 300
    panel = large[60:200]
    coloured = panel[np.ptp(panel, axis=-1) > 0.02]
    assert len(np.unique(coloured.round(3), axis=0)) >= 100
