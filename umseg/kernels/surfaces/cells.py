"""The cells that the surface of a mask runs through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SurfaceCells:
    """The cells of 2x2x2 voxels (2-D: 2x2 pixels) that are neither inside nor outside of a mask as a whole.

    Cell (z, y, x) lies between the voxels (z - 1, y - 1, x - 1) and (z, y, x); beyond the array, all is outside.

    Attributes:
        shape: Number of cells along z, y, x; 1 along z in 2-D.
        starts: (z * y + 1,) number of cells with surface before each row of cells, rows ordered by (z, y).
        xs: (n,) x of the cells with surface, int32, ascending in a row.
        codes: (n,) their corners that are inside, uint8: one bit per corner, the first corner (0, 0, 0) the highest,
            the last axis fastest.
    """

    shape: tuple[int, int, int]
    starts: NDArray[np.intp]
    xs: NDArray[np.int32]
    codes: NDArray[np.uint8]

    def coordinates(self) -> NDArray[np.int32]:
        """(n, 3) z, y, x of the cells."""
        row = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))
        z, y = np.divmod(row, np.int32(self.shape[1]))
        return np.stack((z, y, self.xs), axis=-1)

    def chosen(self, keep: NDArray[np.bool_]) -> SurfaceCells:
        """The cells where ``keep`` (n,) is true."""
        before = np.concatenate(([0], np.cumsum(keep)))
        return SurfaceCells(self.shape, before[self.starts], self.xs[keep], self.codes[keep])


def surface_cells(mask: NDArray[np.bool_]) -> SurfaceCells:
    """Find the cells with surface.

    Args:
        mask: (z, y, x) boolean; (y, x) is 2-D, and so is a mask of one plane only if it has two axes.
    """
    from umseg.kernels.surfaces.cell_kernels import find_cells

    planes = mask.shape[0] + 2 if mask.ndim == 3 else 1
    height, width = mask.shape[-2:]
    padded = np.zeros((planes, height + 2, -8 * (-(width + 2) // 8)), dtype=np.uint8)
    inside = padded[1:-1] if mask.ndim == 3 else padded[0]
    inside[..., 1 : height + 1, 1 : width + 1] = mask
    starts, xs, codes = find_cells(padded.view(np.uint64))
    return SurfaceCells((max(planes - 1, 1), height + 1, width + 1), starts, xs, codes)
