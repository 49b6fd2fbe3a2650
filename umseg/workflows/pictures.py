"""Overlay pictures: image, reference and prediction side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from umseg.common.files import atomic_path

STRENGTH = 0.45


@dataclass(frozen=True)
class Slice:
    """One row of a picture.

    Attributes:
        title: What it shows.
        image: (rows, columns) intensities, the first row at the top.
        reference: (rows, columns) label values.
        prediction: (rows, columns) label values.
    """

    title: str
    image: NDArray[Any]
    reference: NDArray[Any]
    prediction: NDArray[Any]


def draw_overlays(path: Path, slices: Sequence[Slice], labels: dict[str, int]) -> None:
    """Draw a row per slice: the image, the reference, the prediction, and where the two differ.

    Args:
        path: PNG file.
        slices: What to show.
        labels: Name to value of the foreground labels.
    """
    height, width = slices[0].image.shape
    figure = Figure(figsize=(12, 12 * len(slices) * height / width / 4 + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(slices), 4, squeeze=False)
    colors = {value: np.array(colormaps["tab10"](index % 10)[:3]) for index, value in enumerate(labels.values())}
    for row, content in zip(axes, slices, strict=True):
        grey = _grey(content.image)
        wrong = content.reference != content.prediction
        difference = grey.copy()
        difference[wrong] = (1.0, 0.15, 0.15)
        share = wrong.sum() / max(int((content.reference > 0).sum()), 1)
        panels = (
            ("image", grey),
            ("reference", _overlay(grey, content.reference, colors)),
            ("prediction", _overlay(grey, content.prediction, colors)),
            (f"differences ({share:.0%} of the foreground)", difference),
        )
        for axis, (name, picture) in zip(row, panels, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_title(f"{content.title}: {name}" if name == "image" else name, fontsize=9)
            axis.set_axis_off()
    figure.legend(
        handles=[Patch(color=tuple(colors[value]), label=name) for name, value in labels.items()],
        loc="outside lower center",
        ncols=min(len(labels), 6),
        frameon=False,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _grey(image: NDArray[Any]) -> NDArray[np.float64]:
    low, high = np.percentile(image, (0.5, 99.5))
    scaled = np.clip((image - low) / max(high - low, 1e-8), 0, 1)
    grey: NDArray[np.float64] = np.repeat(scaled[..., None], 3, axis=-1)
    return grey


def _overlay(grey: NDArray[np.float64], label: NDArray[Any], colors: dict[int, NDArray[Any]]) -> NDArray[np.float64]:
    mixed: NDArray[np.float64] = grey.copy()
    for value, color in colors.items():
        inside = label == value
        mixed[inside] = (1 - STRENGTH) * grey[inside] + STRENGTH * color
    return mixed
