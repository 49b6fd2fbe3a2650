"""Overlay pictures: image, reference and prediction side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from umseg.common.colours import class_colours
from umseg.common.files import atomic_path

STRENGTH = 0.45
ROW = 0.22
"""Height of a row of the legend in inches."""
MOST_LETTERS = 150
"""Number of letters that fit a row of the legend."""


@dataclass(frozen=True)
class Slice:
    """One row of a picture.

    Attributes:
        title: Name of the case and the slice.
        image: Intensities (rows, columns), the first row at the top.
        reference: Label values (rows, columns) of the reference.
        prediction: Label values (rows, columns) of the prediction.
        edges: Letters of the patient's sides at the left, right, top and bottom edge; empty where they are unknown.
        pixel: Height of a pixel over its width.
    """

    title: str
    image: NDArray[Any]
    reference: NDArray[Any]
    prediction: NDArray[Any]
    edges: str = ""
    pixel: float = 1.0


def draw_overlays(path: Path, slices: Sequence[Slice], labels: dict[str, int]) -> None:
    """Draw one row per slice: the image, the reference, the prediction, and the voxels where these two differ.

    Args:
        path: PNG file to write.
        slices: Rows of the picture.
        labels: Values of the foreground labels by name.
    """
    height, width = slices[0].image.shape
    legend = _legend_rows(labels) * ROW
    figure = Figure(
        figsize=(12, 12 * len(slices) * height * slices[0].pixel / width / 4 + 0.6 + legend), layout="constrained"
    )
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
            axis.imshow(picture, interpolation="nearest", aspect=content.pixel)
            axis.set_title(f"{content.title}: {name}" if name == "image" else name, fontsize=9)
            axis.set_axis_off()
        write_edges(row[0], content.edges)
    _add_legend(figure, labels, colors)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


@dataclass(frozen=True)
class Patch:
    """One row of a sheet of patches.

    Attributes:
        title: Name of the case or patch.
        before: Intensities (rows, columns, 1 or 3) and label values (rows, columns) of the patch as it was cut.
        after: Intensities and label values of the augmented patch.
        edges: Letters of the patient's sides at the left, right, top and bottom edge of the patch as it was cut; empty
            where they are unknown.
        pixel: Height of a pixel over its width.
    """

    title: str
    before: tuple[NDArray[Any], NDArray[Any]]
    after: tuple[NDArray[Any], NDArray[Any]]
    edges: str = ""
    pixel: float = 1.0


def draw_patches(path: Path, patches: Sequence[Patch], labels: dict[str, int]) -> None:
    """Draw one row per patch: as it was cut and after augmentation, each without and with its labels.

    Args:
        path: PNG file to write.
        patches: Rows of the picture.
        labels: Values of all labels but the background, by name.
    """
    heights = [patch.before[1].shape[0] / patch.before[1].shape[1] * patch.pixel for patch in patches]
    legend = _legend_rows(labels) * ROW
    figure = Figure(figsize=(12, sum(12 * height / 4 + 0.5 for height in heights) + 0.6 + legend), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(patches), 4, squeeze=False, height_ratios=heights)
    colors = _colors(labels)
    for row, patch in zip(axes, patches, strict=True):
        panels = []
        for name, (image, label) in (("cut", patch.before), ("augmented", patch.after)):
            picture = _grey(image[..., 0]) if image.shape[-1] == 1 else _colour(image)
            panels += [(name, picture), (f"{name}, labels", _overlay(picture, label, colors))]
        for axis, (name, picture) in zip(row, panels, strict=True):
            axis.imshow(picture, interpolation="nearest", aspect=patch.pixel)
            # The first panel's title is longer than the panel.
            first = axis is row[0]
            axis.set_title(f"{patch.title}: {name}" if first else name, fontsize=9, loc="left" if first else "center")
            axis.set_axis_off()
        for axis in row[:2]:
            write_edges(axis, patch.edges)
    _add_legend(figure, labels, colors)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _colors(labels: dict[str, int]) -> dict[int, NDArray[np.float64]]:
    return {value: np.array(colour) for value, colour in zip(labels.values(), class_colours(len(labels)), strict=True)}


_PLACES = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
)
"""Where the letters of a panel stand: position and alignment at the left, right, top and bottom edge."""


def write_edges(axis: Any, edges: str, **font: Any) -> None:
    """Write the letters of the patient's sides at the edges of a panel; ``font`` has properties of the text."""
    for letter, (x, y, horizontal, vertical) in zip(edges, _PLACES, strict=False):
        axis.text(
            x, y, letter, transform=axis.transAxes, ha=horizontal, va=vertical, color="yellow", fontsize=9,
            fontweight="bold", path_effects=[withStroke(linewidth=2, foreground="black")], **font,
        )  # fmt: skip


def _legend_rows(labels: dict[str, int]) -> int:
    return -(-len(labels) // _legend_columns(labels))


def _legend_columns(labels: dict[str, int]) -> int:
    """As many columns as the longest name leaves room for."""
    longest = max(map(len, labels), default=1)
    return max(1, min(len(labels), 6, MOST_LETTERS // (longest + 5)))


def _add_legend(figure: Figure, labels: dict[str, int], colors: dict[int, NDArray[np.float64]]) -> None:
    """A legend below the panels, where it covers none of them."""
    handles = [Rectangle((0, 0), 1, 1, color=tuple(colors[value]), label=plain(name)) for name, value in labels.items()]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=_legend_columns(labels), frameon=False, fontsize=9
        )


def plain(name: str) -> str:
    """A name that is drawn as it is, without formulas between dollars."""
    return name.replace("$", r"\$")


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
