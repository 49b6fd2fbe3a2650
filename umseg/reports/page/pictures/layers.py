"""Layers of a picture, each a small file in the page: the image, label maps in colours, and where two maps differ."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from umseg.reports.page.palette import CONFUSED, EXTRA, MISSED, on_images, rgb

MATCHED, MISSED_VALUE, EXTRA_VALUE, CONFUSED_VALUE = 0, 1, 2, 3
_COLOURS = 120
"""Number of colours of label maps; a palette holds two entries of each, inside and at the outline."""
_INSIDE = 90
"""Opacity of the inside of a class, of 255; outlines are opaque."""
_SMALL = 64 * 64
"""Pixels up to which an image is stored without loss."""


def image_layer(pixels: NDArray[np.uint8], quality: int = 85) -> str:
    """An image (rows, columns, 1 or 3) as a data URI: PNG where it is small, else JPEG."""
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
    content = io.BytesIO()
    if picture.width * picture.height <= _SMALL:
        picture.save(content, "PNG", optimize=True)
        return _uri("png", content.getvalue())
    picture.save(content, "JPEG", quality=quality, subsampling=0, optimize=True)
    return _uri("jpeg", content.getvalue())


def label_layer(colours: NDArray[np.intp], finer: int) -> str:
    """Classes as a data URI of a PNG with outlines; the background lets the image through.

    Args:
        colours: Number of the colour of every pixel from 1 (rows, columns); 0 is the background.
        finer: Pixels of the layer along each axis for one of the label map, so that outlines are thin.
    """
    palette = [rgb(code) for code in on_images(_COLOURS)]
    return _indexed(_enlarged(colours, finer), palette)


def error_layer(errors: NDArray[np.uint8], finer: int) -> str:
    """The kinds of errors (rows, columns), ``MISSED_VALUE`` and so on, as a data URI of a PNG."""
    return _indexed(_enlarged(errors.astype(np.intp), finer), [rgb(MISSED), rgb(EXTRA), rgb(CONFUSED)])


def class_errors(
    prediction: NDArray[Any], reference: NDArray[Any], ignore_label: int | None = None
) -> NDArray[np.uint8]:
    """Where two label maps of classes differ, and how."""
    errors = np.zeros(reference.shape, np.uint8)
    errors[(reference != 0) & (prediction == 0)] = MISSED_VALUE
    errors[(reference == 0) & (prediction != 0)] = EXTRA_VALUE
    errors[(reference != 0) & (prediction != 0) & (reference != prediction)] = CONFUSED_VALUE
    if ignore_label is not None:
        errors[reference == ignore_label] = MATCHED
    return errors


def object_errors(prediction: NDArray[Any], reference: NDArray[Any], threshold: float) -> NDArray[np.uint8]:
    """The objects that have no counterpart in the other map: none of an IoU of at least ``threshold``."""
    _, predicted = np.unique(np.append(0, prediction), return_inverse=True)
    _, referenced = np.unique(np.append(0, reference), return_inverse=True)
    predicted, referenced = predicted.ravel()[1:], referenced.ravel()[1:]
    rows, columns = int(predicted.max(initial=0)) + 1, int(referenced.max(initial=0)) + 1
    pairs, shared = np.unique(predicted * columns + referenced, return_counts=True)
    row, column = np.divmod(pairs, columns)
    sizes = np.bincount(predicted, minlength=rows), np.bincount(referenced, minlength=columns)
    union = sizes[0][row] + sizes[1][column] - shared
    matched = (row > 0) & (column > 0) & (shared / union >= threshold)
    surplus, missed = np.ones(rows, np.bool_), np.ones(columns, np.bool_)
    surplus[row[matched]], missed[column[matched]] = False, False
    surplus[0] = missed[0] = False
    errors = np.where(missed[referenced], MISSED_VALUE, MATCHED)
    errors[surplus[predicted]] = EXTRA_VALUE
    found: NDArray[np.uint8] = errors.reshape(reference.shape).astype(np.uint8)
    return found


def _enlarged(values: NDArray[np.intp], times: int) -> NDArray[np.intp]:
    return values if times == 1 else values.repeat(times, axis=0).repeat(times, axis=1)


def _indexed(values: NDArray[np.intp], palette: list[tuple[int, int, int]]) -> str:
    """Values from 1 in the colours of a palette: clear inside, opaque at the outline."""
    outline = np.zeros(values.shape, np.bool_)
    upright, level = values[1:] != values[:-1], values[:, 1:] != values[:, :-1]
    outline[1:] |= upright
    outline[:-1] |= upright
    outline[:, 1:] |= level
    outline[:, :-1] |= level
    colour = (values - 1) % len(palette)
    pixels = np.where(values > 0, 1 + 2 * colour + outline, 0).astype(np.uint8)
    used, packed = np.unique(pixels, return_inverse=True)
    table: list[int] = []
    opacity: list[int] = []
    for entry in used.tolist():
        number, edge = divmod(entry - 1, 2) if entry else (0, 0)
        table += palette[number] if entry else (0, 0, 0)
        opacity.append(0 if not entry else 255 if edge else _INSIDE)
    picture = Image.fromarray(packed.reshape(pixels.shape).astype(np.uint8))
    picture.putpalette(table)
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True, transparency=bytes(opacity))
    return _uri("png", content.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
