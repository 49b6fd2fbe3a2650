"""The same image stored along other axes, made by nibabel."""

# nibabel's functions carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

ALL = ["".join(p) for sides in itertools.product("LR", "AP", "SI") for p in itertools.permutations(sides)]
AFFINE = np.array([[1.5, 0, 0, -30], [0, 0.8, 0, 20], [0, 0, 2, 5], [0, 0, 0, 1.0]])
"""RAS, with another spacing along each axis."""


def write_along(path: Path, values: NDArray[np.generic], axes: str, affine: NDArray[np.float64] = AFFINE) -> Path:
    """Write (z, y, x) values that lie in space as ``affine`` says, stored along other axes."""
    image = nibabel.Nifti1Image(values.T, affine)
    turned = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(axes)))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(turned, path)
    return path


def values_in_space(path: Path) -> NDArray[np.int64]:
    """The values (z, y, x) along RAS."""
    canonical = nibabel.as_closest_canonical(nibabel.load(path))
    values: NDArray[np.int64] = np.asarray(canonical.dataobj).astype(np.int64).T
    return values
