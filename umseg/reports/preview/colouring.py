"""From intensities and labels to colours, pixel by pixel of the finished picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from umseg.reports.preview.layout import Place
from umseg.reports.preview.planes import Panel, Plane, Surface, thinning

_OF_IMAGE, _OF_CLASSES = (0.5, 95, 99.5), (10, 90)
"""Percentiles of the intensities of an image, and of those of its classes."""
_MARGIN = 1.0
"""How far they may lie outside of those of the classes, as a fraction of their range."""
FILLED = 0.38
"""Opacity of a class inside of its outline."""
_LIGHT = np.array([-0.45, -0.55, 0.7])
"""Where the light comes from: the left, the top and the eye."""
_SMOOTHED = 1.2
"""Width of the smoothing of surfaces in voxels."""
_AMBIENT, _FADING = 0.45, 0.35
"""Brightness of what is turned away from the light, and how much of the brightness the farthest place loses."""


def paint(panel: Panel, place: Place, colours: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.uint8]:
    """The picture of a panel, (height, width, 3).

    Args:
        panel: What it shows.
        place: Its size in pixels.
        colours: Red, green and blue of every label value, from 0 to 1; black for values that are not shown.
        window: Intensities that are shown as black and as white.
    """
    labels = _enlarged(panel.labels, place).astype(np.intp)
    shown: NDArray[np.bool_] = np.any(colours > 0, axis=1)[labels]
    picture = colours[labels]
    if isinstance(panel, Surface):
        picture = picture * _relief(panel, place, shown)[..., None]
    elif isinstance(panel, Plane):
        grey = _grey(panel.image, place, window)
        # Values of one colour are one class.
        codes = (np.round(255 * colours) @ np.array([65536, 256, 1])).astype(np.int32)
        opacity = np.where(_outlines(codes[labels]), np.float32(1), np.float32(FILLED)) * shown
        picture = grey + opacity[..., None] * (picture - grey)
    finished: NDArray[np.uint8] = np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return finished


def _enlarged(values: NDArray[Any], place: Place) -> NDArray[Any]:
    """An array (rows, columns) at the size of a panel: each pixel has the value of the voxel that it lies in."""
    rows, columns = (
        ((np.arange(pixels) + 0.5) * length / pixels).astype(np.intp)
        for length, pixels in zip(values.shape, (place.height, place.width), strict=True)
    )
    enlarged: NDArray[Any] = values[rows][:, columns]
    return enlarged


def _grey(image: NDArray[Any], place: Place, window: tuple[float, float]) -> NDArray[np.float32]:
    """Intensities (rows, columns, 1 or 3) as colours from 0 to 1, at the size of the panel."""
    low, high = window
    # Large pictures are thinned out first: two pixels for each that is drawn are enough for a smooth result.
    step = max(1, min(image.shape[0] // (2 * place.height), image.shape[1] // (2 * place.width)))
    scaled = np.clip((image[::step, ::step].astype(np.float32) - low) / max(high - low, 1e-30), 0, 1)
    size = (place.width, place.height)
    layers = [
        np.asarray(Image.fromarray(np.ascontiguousarray(layer)).resize(size, Image.Resampling.BICUBIC))
        for layer in np.moveaxis(scaled, -1, 0)
    ]
    grey: NDArray[np.float32] = np.clip(np.stack(layers * (3 // len(layers)), axis=-1), 0, 1)
    return grey


def _outlines(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """The pixels of labels whose neighbour to the left, right, top or bottom has another label."""
    edge = np.zeros(labels.shape, np.bool_)
    upright, level = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= upright
    edge[:-1] |= upright
    edge[:, 1:] |= level
    edge[:, :-1] |= level
    return edge


def _relief(panel: Surface, place: Place, shown: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Brightness of labels that are seen from one side, as if light fell on them from the top left."""
    size = (place.height, place.width)
    if not shown.any():
        return np.zeros(size, np.float32)
    depth = _enlarged(panel.depth, place)
    near, far = float(depth[shown].min()), float(depth[shown].max())
    # Steps of whole voxels are smoothed, but not over the edge of what is seen.
    width = [_SMOOTHED * pixels / length for length, pixels in zip(panel.depth.shape, size, strict=True)]
    weight = np.maximum(_blurred(shown, width), 1e-6)
    smooth = _blurred(np.where(shown, depth, 0), width) / weight
    pixel = panel.size[0] / place.height
    down, right = (np.asarray(slope) / pixel for slope in np.gradient(smooth))
    # The surface rises to the eye as the depth falls.
    steep = np.sqrt(down**2 + right**2 + 1)
    lit = (down * _LIGHT[1] + right * _LIGHT[0] + _LIGHT[2]) / (steep * np.linalg.norm(_LIGHT))
    faded = 1 - _FADING * (depth - near) / max(far - near, 1e-6)
    brightness: NDArray[np.float32] = (_AMBIENT + (1 - _AMBIENT) * np.clip(lit, 0, 1)) * faded * shown
    return brightness


def _blurred(values: NDArray[Any], sigma: Sequence[float]) -> NDArray[np.float32]:
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(values.astype(np.float32), sigma, mode="nearest", truncate=2)
    return blurred


def intensity_window(image: NDArray[Any], labels: NDArray[Any], box: Sequence[slice]) -> tuple[float, float]:
    """The intensities that are shown as black and as white.

    They lie around those of the classes, so that these stand out from what is next to them, but within those of the
    whole image, of which few may be white without a difference. Without a class they are those of the whole image.

    Args:
        image: (channels, z, y, x).
        labels: Label values (z, y, x).
        box: The smallest box around all classes, or around the whole image.
    """
    whole = _thin(image, [slice(0, size) for size in labels.shape])
    lowest, bright, highest = np.percentile(whole, _OF_IMAGE)
    inside = _thin(image, box)[:, _thin(labels[None], box)[0] > 0]
    if not inside.size:
        return float(lowest), float(highest)
    low, high = np.percentile(inside, _OF_CLASSES)
    margin = _MARGIN * (high - low)
    return float(max(lowest, low - margin)), float(min(highest, max(bright, high + margin)))


def _thin(values: NDArray[Any], box: Sequence[slice]) -> NDArray[Any]:
    """Some millions of the values (channels, z, y, x) inside of a box."""
    step = thinning([part.stop - part.start for part in box])
    parts = (slice(None), *(slice(part.start, part.stop, step) for part in box))
    return values[parts]
