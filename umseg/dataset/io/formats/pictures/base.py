"""What pictures have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.memory import require_memory
from umseg.common.text import by
from umseg.dataset.io.format import Format
from umseg.dataset.io.formats.damage import check_compression
from umseg.dataset.io.formats.itk import open_itk, write_itk
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Source, last_line


class Picture(Format):
    """A picture, which ITK writes, and reads except where a subclass says otherwise.

    Attributes:
        image_io: Name of the ITK class.
    """

    is_picture = True
    flat = True
    image_io: str

    def open(self, path: Path) -> Source:
        """As in :class:`Format`. The spacing has no unit: what a picture says about its size is meant for printing."""
        source = open_itk(path, self.image_io, self.check)
        return replace(source, geometry=replace(source.geometry, unit=None))

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`.

        Raises:
            UserError: So many voxels do not fit into memory.
        """
        check_compression(path, voxel_bytes)
        require_memory(voxel_bytes, "The image", file=path, found=f"{voxel_bytes} bytes of pixels")

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """As in :class:`Format`."""
        write_itk(path, self.image_io, values, geometry)


def flat_source(
    size: tuple[int, int], components: int, check: Callable[[int], None], decode: Callable[[], NDArray[Any]]
) -> Source:
    """The source of a picture that ITK does not read.

    Args:
        size: Width and height.
        components: Numbers per pixel.
        check: Verifies the file before its pixels are decoded, given their size in bytes as one byte per number.
        decode: Returns the pixels, (y, x) or (y, x, components); whatever it raises is the file's damage.
    """

    def read() -> NDArray[Any]:
        check(math.prod(size) * components)
        try:
            values = decode()
        except (MemoryError, OSError, UserError, DamagedFileError):
            raise
        except Exception as error:  # whatever Pillow trips over
            raise DamagedFileError(last_line(error)) from error
        values = values.reshape(*values.shape[:2], -1)
        if values.shape != (size[1], size[0], components):
            raise DamagedFileError(f"its pixels have the shape {by(values.shape)}")
        return np.ascontiguousarray(np.moveaxis(values, -1, 0))[:, None]

    return Source(Geometry(size, (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), unit=None), components, read)
