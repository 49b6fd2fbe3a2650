"""Images as NIfTI-1 files: voxels, spacing, orientation, and a label map with the header of its image."""

from __future__ import annotations

import gzip
import itertools
import math
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .metadata import PredictionError

_HEADER = 348
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_MM = {1: 1000.0, 3: 1e-3}
_SCANNER = 1


@dataclass(frozen=True)
class Picture:
    """An image of a file.

    Attributes:
        voxels: (channels, z, y, x) float32; a file has one channel.
        spacing: mm per voxel along z, y, x.
        axes: Axis codes of x, y, z, e.g. RAS; None where the file states no place in space.
        header: The first bytes of the file.
    """

    voxels: NDArray[np.float32]
    spacing: tuple[float, float, float]
    axes: str | None
    header: bytes


def read(path: Path) -> Picture:
    """Read a ``.nii`` or ``.nii.gz`` file.

    Raises:
        PredictionError: It is no NIfTI-1 file of a single image.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        return _parsed(content)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise PredictionError(f"{path} cannot be read: {error}.") from error


def write(path: Path, labels: NDArray[np.unsignedinteger[Any]], image: Picture) -> None:
    """Write the label map of an image under a temporary name, and then rename it."""
    order = _order(image.header)
    header = bytearray(image.header)
    code = {"u1": 2, "u2": 512, "u4": 768}[labels.dtype.str[1:]]
    struct.pack_into(f"{order}hh", header, 70, code, 8 * labels.dtype.itemsize)
    struct.pack_into(f"{order}fff", header, 108, _HEADER + 4, 1.0, 0.0)  # offset of the voxels, slope, intercept
    struct.pack_into(f"{order}ff", header, 124, 0.0, 0.0)  # window of display
    content = bytes(header) + bytes(4) + labels.astype(labels.dtype.newbyteorder(order)).tobytes()
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        temporary.write_bytes(gzip.compress(content, 6, mtime=0) if path.suffix == ".gz" else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def turned(values: NDArray[Any], axes: str | None, wanted: str | None) -> NDArray[Any]:
    """An array (..., z, y, x) turned from one orientation to another; unchanged where either is unknown."""
    if axes is None or wanted is None:
        return values
    places = [_axis_of(side, axes) for side in wanted]
    flips = [axis for axis, side in enumerate(wanted) if side not in axes]
    front = list(range(values.ndim - 3))
    # Codes are in the order x, y, z; the arrays end in z, y, x.
    moved = values.transpose(*front, *(values.ndim - 1 - place for place in reversed(places)))
    return np.ascontiguousarray(np.flip(moved, tuple(values.ndim - 1 - axis for axis in flips)))


def turned_spacing(
    spacing: tuple[float, float, float], axes: str | None, wanted: str | None
) -> tuple[float, float, float]:
    """The spacing (z, y, x) of a turned array."""
    if axes is None or wanted is None:
        return spacing
    x, y, z = (spacing[2 - _axis_of(side, axes)] for side in wanted)
    return z, y, x


def _parsed(content: bytes) -> Picture:
    header = content[:_HEADER]
    if len(header) < _HEADER or header[344:348] != b"n+1\0":
        raise ValueError("it is no NIfTI-1 file in one piece")
    order = _order(header)
    dimensions, *sizes = struct.unpack_from(f"{order}8h", header, 40)
    shape = [*sizes[: min(dimensions, 3)], *[1] * (3 - dimensions)]
    if not 1 <= dimensions <= 7 or min(shape) < 1 or math.prod(sizes[3:dimensions]) > 1:
        raise ValueError(f"its sizes {sizes[:dimensions]} are not those of one image of up to three axes")
    code, _ = struct.unpack_from(f"{order}hh", header, 70)
    if code not in _TYPES:
        raise ValueError(f"its data type {code} is not that of an image of single numbers")
    dtype = np.dtype(_TYPES[code]).newbyteorder(order)
    offset, slope, inter = struct.unpack_from(f"{order}fff", header, 108)
    start = int(offset) or _HEADER + 4
    count = math.prod(shape)
    if start < _HEADER or len(content) < start + count * dtype.itemsize:
        raise ValueError(f"it ends before its {count:,} voxels do")
    voxels = np.frombuffer(content, dtype, count, start).reshape(1, *shape[::-1])
    if slope and (slope, inter) != (1.0, 0.0) and math.isfinite(slope):
        voxels = voxels.astype(np.float64) * slope + inter
    image = voxels.astype(np.float32)
    return Picture(image, _spacing(header, order, dimensions), _axes(header, order), header)


def _order(header: bytes) -> Literal["<", ">"]:
    return "<" if struct.unpack_from("<i", header)[0] == _HEADER else ">"


def _spacing(header: bytes, order: str, dimensions: int) -> tuple[float, float, float]:
    scale = _MM.get(header[123] & 7, 1.0)
    sizes = [abs(size) * scale for size in struct.unpack_from(f"{order}3f", header, 80)]
    x, y, z = (size if axis < dimensions and size > 0 else 1.0 for axis, size in enumerate(sizes))
    return z, y, x


def _axes(header: bytes, order: str) -> str | None:
    """The axis codes of the form that readers take: the sform of a scanner or that stands alone, else the qform."""
    qform_code, sform_code = struct.unpack_from(f"{order}hh", header, 252)
    if sform_code > 0 and (sform_code == _SCANNER or qform_code <= 0):
        matrix = np.reshape(struct.unpack_from(f"{order}12f", header, 280), (3, 4))[:, :3]
    elif qform_code > 0:
        matrix = _rotation(struct.unpack_from(f"{order}3f", header, 256))
        matrix[:, 2] *= -1 if struct.unpack_from(f"{order}f", header, 76)[0] < 0 else 1
    else:
        return None
    lengths = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(lengths).all() or not lengths.all():
        return None
    directions = matrix / lengths
    columns = range(3)
    sides = max(itertools.permutations(columns), key=lambda p: sum(abs(directions[p[c], c]) for c in columns))
    return "".join(("LR", "PA", "IS")[side][int(directions[side, column] > 0)] for column, side in enumerate(sides))


def _rotation(quaternion: Iterable[float]) -> NDArray[np.float64]:
    b, c, d = quaternion
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )


def _axis_of(side: str, axes: str) -> int:
    pair = next(pair for pair in ("LR", "PA", "IS") if side in pair)
    return next(axis for axis, code in enumerate(axes) if code in pair)
