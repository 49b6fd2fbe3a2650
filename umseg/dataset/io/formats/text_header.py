"""What MetaImage and NRRD share: a text header, with the voxels behind it or in a file beside it.

Such a header may name any file, many files or a pattern of names, and ITK follows it. Here the voxels have to be in
the file itself or in one other file of the same folder.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.dataset.io.format import Format
from umseg.dataset.io.formats.damage import expect_bytes, inflated_size
from umseg.dataset.io.formats.itk import open_itk, write_itk
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Source

_VOXEL_ENDINGS = (".raw", ".zraw", ".raw.gz")
_LIMIT = 1 << 20


@dataclass(frozen=True)
class TextHeader:
    """What a header says about the place of the voxels.

    Attributes:
        voxels: The file that holds the voxels: the header's own, or one in the same folder.
        start: Where the voxels begin in that file, in bytes.
        encoding: How the voxels are stored; the length of ``other`` is not known beforehand.
    """

    voxels: Path
    start: int
    encoding: Literal["raw", "gzip", "other"]


class TextHeaderFormat(Format):
    """A format with a text header that ITK reads and writes.

    Attributes:
        image_io: Name of the ITK class.
    """

    image_io: str

    @abstractmethod
    def parse(self, path: Path, content: bytes) -> TextHeader:
        """Find the voxels; ``content`` is the beginning of the file.

        Raises:
            UserError, DamagedFileError: As in :meth:`read_header`.
        """

    def read_header(self, path: Path) -> TextHeader:
        """Find the voxels of a file.

        Raises:
            UserError: They are in several files, or in another folder.
            DamagedFileError: The header does not say where they are, or they are missing.
            OSError: The file cannot be read.
        """
        with path.open("rb") as handle:
            content = handle.read(_LIMIT)
        return self.parse(path, content)

    def open(self, path: Path) -> Source:
        """As in :class:`Format`."""
        self.read_header(path)
        return open_itk(path, self.image_io, self.check)

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`: ITK ignores a decompression that fails."""
        header = self.read_header(path)
        if header.encoding == "gzip":
            expect_bytes(inflated_size(header.voxels, header.start), voxel_bytes)
        elif header.encoding == "raw":
            expect_bytes(header.voxels.stat().st_size - header.start, voxel_bytes)

    def companions(self, path: Path) -> list[Path]:
        """The voxels beside a header; none for a header that is damaged or refused, as reading it will explain."""
        try:
            voxels = self.read_header(path).voxels
        except (UserError, DamagedFileError, OSError):
            return []
        return [] if voxels == path else [voxels]

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """As in :class:`Format`. The voxels of a header without voxels go to a file beside it."""
        with atomic_path(path) as temporary:
            try:
                write_itk(temporary, self.image_io, values, geometry)
                self._rename_voxels(temporary, path)
            finally:
                for ending in _VOXEL_ENDINGS:
                    temporary.with_suffix(ending).unlink(missing_ok=True)

    def _rename_voxels(self, temporary: Path, path: Path) -> None:
        """Give the voxels beside a temporary header the name that follows the header's final one."""
        voxels = self.read_header(temporary).voxels
        if voxels == temporary:
            return
        final = path.with_name(voxels.name.replace(temporary.stem, path.stem))
        temporary.write_bytes(temporary.read_bytes().replace(voxels.name.encode(), final.name.encode()))
        # At no time does a header stand beside the voxels of another one.
        path.unlink(missing_ok=True)
        voxels.replace(final)


def voxels_beside(path: Path, named: bytes) -> Path:
    """The file of voxels that a header names.

    Raises:
        UserError: It is not a single file of voxels in the same folder.
        DamagedFileError: It does not exist.
    """
    name = named.decode(errors="surrogateescape").removeprefix("./")
    # MetaIO takes any name that begins with LIST for a list of files, and any with % for a pattern.
    if not name.lower().endswith(_VOXEL_ENDINGS) or name.startswith("LIST") or set(name) & set("/\\:%"):
        raise UserError(
            "An image has its voxels in other files.",
            file=path,
            found="".join(letter for letter in name if letter.isprintable())[:80],
            expected="voxels in the file itself, or in one .raw file in the same folder",
            remedy="Convert the image to .nii.gz, e.g. with 3D Slicer or SimpleITK.",
        )
    voxels = path.with_name(name)
    if not voxels.is_file():
        raise DamagedFileError(f"the file of its voxels is missing: {name}")
    return voxels
