"""NIfTI: ``.nii`` and ``.nii.gz``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.format import Format
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import Source


class Nifti(Format):
    """NIfTI files, read and written by nibabel."""

    name = "NIfTI"
    endings = (".nii.gz", ".nii")

    def open(self, path: Path) -> Source:
        """As in :class:`Format`. A file counts as compressed if it is, whatever its ending says."""
        from umseg.dataset.io.formats.nifti.voxels import open_nifti

        return open_nifti(path)

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`."""
        from umseg.dataset.io.formats.nifti.voxels import check_file

        check_file(path)

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """As in :class:`Format`. The header has the forms, codes and units of the NIfTI file that the grid is from."""
        from umseg.dataset.io.formats.nifti.voxels import write_label

        write_label(path, values, geometry)
