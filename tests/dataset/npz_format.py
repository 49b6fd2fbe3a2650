"""A format of another package: NumPy's ``.npz`` with voxels and spacing."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.files import atomic_path
from umseg.dataset.io.format import Format
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Source


class Npz(Format):
    """Files with the arrays ``voxels`` (z, y, x) and ``spacing`` (x, y, z)."""

    name = "NumPy"
    endings = (".npz",)

    def open(self, path: Path) -> Source:
        try:
            with np.load(path) as content:
                voxels, spacing = content["voxels"], content["spacing"]
        except (zipfile.BadZipFile, ValueError, KeyError) as error:
            raise DamagedFileError(str(error)) from error
        grid = Geometry(voxels.shape[::-1], tuple(map(float, spacing)), (0.0,) * 3, tuple(np.eye(3).ravel()))
        return Source(grid, 1, lambda: voxels[None])

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, voxels=values, spacing=geometry.spacing)


class NpzWithNiftiLabels(Npz):
    """The same for images only; label maps are NIfTI files."""

    def label_ending(self, file_ending: str) -> str:
        return ".nii.gz"


FORMAT = Npz()
WITH_NIFTI_LABELS = NpzWithNiftiLabels()
NOT_A_FORMAT = Npz
