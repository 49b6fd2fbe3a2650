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
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from umseg.common.files import atomic_path

STRENGTH = 0.45


@dataclass(frozen=True)
class Slice:
    """One row of a picture.

    Attributes:
        title: Name of the case and the slice.
        image: Intensities (rows, columns), the first row at the top.
        reference: Label values (rows, columns) of the reference.
        prediction: Label values (rows, columns) of the prediction.
    """

    title: str
    image: NDArray[Any]
    reference: NDArray[Any]
    prediction: NDArray[Any]


def draw_overlays(path: Path, slices: Sequence[Slice], labels: dict[str, int]) -> None:
    """Draw one row per slice: the image, the reference, the prediction, and the voxels where these two differ.

    Args:
        path: PNG file to write.
        slices: Rows of the picture.
        labels: Values of the foreground labels by name.
    """
    height, width = slices[0].image.shape
    figure = Figure(figsize=(12, 12 * len(slices) * height / width / 4 + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(slices), 4, squeeze=False)
    colors = _colors(labels)
    for row, content in zip(axes, slices, strict=True):
        grey = _grey(content.image)
        errors = content.reference != content.prediction
        difference = grey.copy()
        difference[errors] = (1.0, 0.15, 0.15)
        share = errors.sum() / max(int((content.reference > 0).sum()), 1)
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
        handles=_legend(labels, colors),
        loc="outside lower center",
        ncols=min(len(labels), 6),
        frameon=False,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


@dataclass(frozen=True)
class Patch:
    """One row of a sheet of patches.

    Attributes:
        title: Name of the case or patch.
        before: Intensities (rows, columns, 1 or 3) and label values (rows, columns) of the patch as it was cut.
        after: Intensities and label values of the augmented patch.
    """

    title: str
    before: tuple[NDArray[Any], NDArray[Any]]
    after: tuple[NDArray[Any], NDArray[Any]]


def draw_patches(path: Path, patches: Sequence[Patch], labels: dict[str, int]) -> None:
    """Draw one row per patch: as it was cut and after augmentation, each without and with its labels.

    Args:
        path: PNG file to write.
        patches: Rows of the picture.
        labels: Values of all labels but the background, by name.
    """
    height, width = patches[0].before[1].shape
    figure = Figure(figsize=(12, (12 * height / width / 4 + 0.3) * len(patches) + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(patches), 4, squeeze=False)
    colors = _colors(labels)
    for row, patch in zip(axes, patches, strict=True):
        panels = []
        for name, (image, label) in (("cut", patch.before), ("augmented", patch.after)):
            picture = _grey(image[..., 0]) if image.shape[-1] == 1 else _colour(image)
            panels += [(name, picture), (f"{name}, labels", _overlay(picture, label, colors))]
        for axis, (name, picture) in zip(row, panels, strict=True):
            axis.imshow(picture, interpolation="nearest")
            # The first panel's title is longer than the panel.
            first = axis is row[0]
            axis.set_title(f"{patch.title}: {name}" if first else name, fontsize=9, loc="left" if first else "center")
            axis.set_axis_off()
    figure.legend(handles=_legend(labels, colors), loc="outside lower center", ncols=min(len(labels), 6), frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _colors(labels: dict[str, int]) -> dict[int, NDArray[np.float64]]:
    return {value: np.array(colormaps["tab10"](index % 10)[:3]) for index, value in enumerate(labels.values())}


def _legend(labels: dict[str, int], colors: dict[int, NDArray[np.float64]]) -> list[Rectangle]:
    return [Rectangle((0, 0), 1, 1, color=tuple(colors[value]), label=name) for name, value in labels.items()]


def _colour(image: NDArray[Any]) -> NDArray[np.float64]:
    return np.concatenate([_grey(image[..., c])[..., :1] for c in range(3)], axis=-1)


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
