"""Images as NumPy files: ``CASE_0000.npy`` with axes (z, y, x), one millimetre per voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.files import atomic_path
from umseg.dataset.io.format import Format
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Source


class Npy(Format):
    """NumPy files; nothing in them is executed."""

    name = "NumPy"
    endings = (".npy",)

    def open(self, path: Path) -> Source:
        """Read the header; the voxels are read when they are asked for."""
        try:
            voxels = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise DamagedFileError(str(error)) from error
        axes = voxels.ndim
        geometry = Geometry(voxels.shape[::-1], (1.0,) * axes, (0.0,) * axes, tuple(np.eye(axes).ravel()))
        return Source(geometry, components=1, read=lambda: np.array(voxels).reshape(1, *geometry.shape))

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """Write the label map under a temporary name, and then rename it."""
        with atomic_path(path) as temporary:
            np.save(temporary, values.reshape(geometry.size[::-1]), allow_pickle=False)


NPY = Npy()
