"""Pictures that are stored turned: the orientation of EXIF and TIFF, which viewers undo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.source import Notice, Source

UPRIGHT = 1
TAG = 274

_WORDS = {
    2: "mirrored from left to right",
    3: "turned by 180 degrees",
    4: "mirrored from top to bottom",
    5: "mirrored along its diagonal",
    6: "to be turned by 90 degrees clockwise",
    7: "mirrored along its other diagonal",
    8: "to be turned by 90 degrees anticlockwise",
}
# Those whose rows are shown as columns, and the directions (y, x) that are then reversed.
_SWAPPED = (5, 6, 7, 8)
_REVERSED = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}


def orientation_of(value: object) -> int:
    """The orientation that a tag states, 2 to 8; 1 for upright pictures, and for values that mean nothing."""
    return value if isinstance(value, int) and value in _WORDS else UPRIGHT


def exif_orientation(exif: bytes) -> int:
    """The orientation that a block of EXIF data states, without the letters "Exif" in front; 1 if it states none."""
    from PIL.Image import Exif

    tags = Exif()
    try:
        tags.load(exif)
        return orientation_of(tags.get(TAG))
    except Exception:  # whatever Pillow trips over: viewers show pictures with damaged EXIF data as they are stored
        return UPRIGHT


def upright(path: Path, source: Source, orientation: int) -> Source:
    """The source of a picture as viewers show it, with a notice if that is not as it is stored."""
    if orientation == UPRIGHT:
        return source
    geometry = source.geometry
    if orientation in _SWAPPED:
        geometry = replace(geometry, size=_swapped(geometry.size), spacing=_swapped(geometry.spacing))
    notice = Notice(
        "The picture is stored turned or mirrored: it is read upright, as viewers show it.",
        path,
        found=f"orientation {orientation}: {_WORDS[orientation]}",
        expected="orientation 1: upright",
        remedy="Label maps must be upright, too. To be sure, compare one of them with its image in a viewer.",
    )
    notices = (*source.notices, notice)
    return replace(source, geometry=geometry, read=lambda: turned(source.read(), orientation), notices=notices)


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Voxels (components, z, y, x) as they are shown with an orientation from 1 to 8."""
    if orientation == UPRIGHT:
        return values
    y, x = _REVERSED[orientation]
    shown = np.swapaxes(values, -1, -2) if orientation in _SWAPPED else values
    return np.ascontiguousarray(shown[..., ::y, ::x])


def _swapped(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    x, y, *others = sizes
    return (y, x, *others)
