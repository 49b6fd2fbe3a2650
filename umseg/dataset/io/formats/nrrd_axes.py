"""The axes of a NRRD file: which are axes of space, and where they lie, in the coordinates of DICOM (LPS)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.formats.text_header import integers, numbers, printable, unusable
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError

# Kinds of axes that lie in space or time; an axis of unknown kind does too.
_DOMAIN = ("domain", "space", "time", "???", "none")
# Names of spaces, the number of their dimensions, and what turns their coordinates to those of DICOM.
_LPS, _RAS, _LAS = (1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (1.0, -1.0, 1.0)
_SPACES = {
    "right-anterior-superior": _RAS,
    "ras": _RAS,
    "left-anterior-superior": _LAS,
    "las": _LAS,
    "left-posterior-superior": _LPS,
    "lps": _LPS,
    # Coordinates of a machine, which say nothing of the patient, are taken as they are.
    "scanner-xyz": _LPS,
    "3d-right-handed": _LPS,
    "3d-left-handed": _LPS,
}
_TIMED = {"rast": _RAS, "last": _LAS, "lpst": _LPS} | {f"{name}-time": flips for name, flips in _SPACES.items()}
_VECTOR = re.compile(rb"\([^()]*\)|[^\s()]+")


def component_axis(path: Path, fields: Mapping[str, bytes], kinds: Sequence[str]) -> int | None:
    """The axis along which the components of a voxel lie; None if there is none.

    Raises:
        UserError: There are several.
    """
    directions = _directions(fields, len(kinds))
    dependent = [
        axis
        for axis, kind in enumerate(kinds)
        if kind not in _DOMAIN or (kind in ("???", "none") and directions is not None and directions[axis] is None)
    ]
    if len(dependent) > 1:
        raise unusable(
            path,
            "A NRRD file has several axes that do not lie in space.",
            "kinds " + " ".join(map(printable, kinds)),
            "one at most, for the components of a voxel",
        )
    return dependent[0] if dependent else None


def nrrd_geometry(path: Path, fields: Mapping[str, bytes], sizes: Sequence[int], component: int | None) -> Geometry:
    """The grid of the axes of space, in the order of the file. A spacing that is not stated for every axis is NaN.

    Raises:
        UserError: The header says of a space, but not how the axes lie in it.
        DamagedFileError: A field is malformed.
    """
    axes = [axis for axis in range(len(sizes)) if axis != component]
    size = tuple(sizes[axis] for axis in axes)
    flips = _space(fields)
    if flips is None:
        return _without_space(fields, size, axes, len(sizes))
    origin = _origin(fields, flips)
    directions = _directions(fields, len(sizes))
    stated = [None if directions is None else directions[axis] for axis in axes]
    if directions is None and "spacings" not in fields and len(flips) == len(axes):
        # Nothing is stated but the place of the first voxel.
        return Geometry(size, (1.0,) * len(axes), tuple(origin.tolist()), _identity(len(axes)), None)
    if len(flips) != len(axes) or None in stated:
        found = sum(vector is not None for vector in stated)
        raise unusable(
            path,
            "A NRRD file does not say how its axes lie in space.",
            f"{len(axes)} axes, {found} of them with a direction, in a space of {len(flips)} dimensions",
            "space directions with one vector for every axis of space",
        )
    vectors = [np.asarray(vector) * flips for vector in stated if vector is not None]
    spacing = [math.sqrt(_sum_of_squares(vector)) for vector in vectors]
    with np.errstate(all="ignore"):
        columns = [vector * (1 / np.float64(length)) for vector, length in zip(vectors, spacing, strict=True)]
    for axis, column in enumerate(columns):
        if not np.isfinite(column).all():
            # A length of 0 or NaN, which the spacing tells.
            columns[axis] = np.eye(len(axes))[axis]
    direction = np.stack(columns, axis=1)
    return Geometry(size, tuple(spacing), tuple(origin.tolist()), tuple(direction.ravel().tolist()))


def space_units(fields: Mapping[str, bytes]) -> list[str]:
    """The units in which a header states lengths."""
    return re.findall(r'"([^"]*)"', fields.get("spaceunits", b"").decode("latin-1"))


def _without_space(fields: Mapping[str, bytes], size: tuple[int, ...], axes: Sequence[int], stored: int) -> Geometry:
    """The grid of a header that only says how long the axes are, and perhaps where they begin."""
    spacing = _chosen("spacings", fields, axes, stored)
    lows, highs = _chosen("axismins", fields, axes, stored), _chosen("axismaxs", fields, axes, stored)
    name = "centers" if "centers" in fields else "centerings"
    nodes = fields.get(name, b"").lower().split()
    origin = [0.0] * len(axes)
    if lows is not None and (spacing or highs) and all(map(math.isfinite, lows)):
        for position, (axis, low) in enumerate(zip(axes, lows, strict=True)):
            step = spacing[position] if spacing else (highs[position] - low) / size[position] if highs else 0.0
            node = axis < len(nodes) and nodes[axis] == b"node"
            origin[position] = low if node else low + step / 2
    return Geometry(
        size,
        tuple(spacing) if spacing else (1.0,) * len(axes),
        tuple(origin),
        _identity(len(axes)),
        "mm" if spacing else None,
    )


def _chosen(field: str, fields: Mapping[str, bytes], axes: Sequence[int], stored: int) -> list[float] | None:
    """The numbers of a field for some axes; None if the header has none of them."""
    if field not in fields:
        return None
    values = numbers(field, fields[field], stored)
    chosen = [values[axis] for axis in axes]
    return None if all(map(math.isnan, chosen)) else chosen


def _identity(axes: int) -> tuple[float, ...]:
    return tuple(np.eye(axes).ravel().tolist())


def _space(fields: Mapping[str, bytes]) -> NDArray[np.float64] | None:
    """What turns the coordinates of the file's space to those of DICOM; None if it has no space."""
    if "space" in fields and "spacedimension" in fields:
        raise DamagedFileError("the header names a space and a number of its dimensions")
    if "spacedimension" in fields:
        dimensions = integers("space dimension", fields["spacedimension"], 1)[0]
        if not 1 <= dimensions <= 8:
            raise DamagedFileError(f"the field space dimension is {dimensions}")
        return np.ones(dimensions)
    if "space" not in fields:
        return None
    name = fields["space"].decode("latin-1").lower()
    if name in _TIMED:
        return np.array((*_TIMED[name], 1.0))
    if name not in _SPACES:
        raise DamagedFileError(f"the header names an unknown space: {printable(name)}")
    return np.array(_SPACES[name])


def _origin(fields: Mapping[str, bytes], flips: NDArray[np.float64]) -> NDArray[np.float64]:
    text = fields.get("spaceorigin", b"none")
    vector = _vector("space origin", text)
    if vector is None:
        return np.zeros(len(flips))
    if len(vector) != len(flips):
        raise DamagedFileError(f"the field space origin has {len(vector)} numbers, not {len(flips)}")
    return np.asarray(vector) * flips


def _directions(fields: Mapping[str, bytes], axes: int) -> list[tuple[float, ...] | None] | None:
    """The direction of each axis in space, None for an axis without one; None if the header has none at all."""
    if "spacedirections" not in fields:
        return None
    texts = _VECTOR.findall(fields["spacedirections"])
    if len(texts) != axes:
        raise DamagedFileError(f"the field space directions has {len(texts)} vectors, not {axes}")
    vectors = [_vector("space directions", text) for text in texts]
    space = _space(fields)
    wrong = [vector for vector in vectors if vector is not None and (space is None or len(vector) != len(space))]
    if wrong:
        raise DamagedFileError("the field space directions has vectors of another space")
    return vectors


def _vector(field: str, text: bytes) -> tuple[float, ...] | None:
    """The numbers of a vector in brackets; None for one that is unknown."""
    if text.strip().lower() == b"none":
        return None
    inner = text.strip()
    if not (inner.startswith(b"(") and inner.endswith(b")")):
        raise DamagedFileError(f"the field {field} has a value that is no vector: {printable(text)}")
    words = inner[1:-1].split(b",")
    values = numbers(field, b" ".join(words), len(words))
    unknown = [math.isnan(value) for value in values]
    if all(unknown):
        return None
    if any(unknown):
        raise DamagedFileError(f"the field {field} has a vector that is partly unknown: {printable(text)}")
    return values


def _sum_of_squares(vector: NDArray[np.float64]) -> float:
    return sum(float(value) * float(value) for value in vector)
