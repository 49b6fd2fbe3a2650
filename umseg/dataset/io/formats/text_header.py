"""What MetaImage and NRRD share: a text header, with the voxels behind it or in a file beside it.

Such a header may name any file, many files or a pattern of names. Here the voxels have to be in the file itself or in
one other file of the same folder. Headers are parsed and voxels decoded here, because the libraries that ITK takes
for them trust what a header says; ITK writes label maps.
"""

from __future__ import annotations

import os
import re
import uuid
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.format import Format
from umseg.dataset.io.formats.damage import trailing_notices
from umseg.dataset.io.formats.itk import write_itk
from umseg.dataset.io.formats.text_voxels import StoredVoxels, read_voxels, verify_voxels
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Notice, Source

_VOXEL_ENDINGS = (".raw", ".zraw", ".raw.gz", ".raw.bz2", ".txt", ".hex")
# Spaces at the ends are lost in a header, % makes a pattern.
_PLAIN_STEM = re.compile(r"(?! )[^%\x00-\x1f]+(?<! )")
_LONGEST_STEM = 100
# Headers of segmentations with hundreds of described segments have some hundred kilobytes.
_STEPS = (1 << 14, 1 << 18, 1 << 24)
_MILLIMETRES = ("", "?", "mm", "millimeter", "millimeters", "millimetre", "millimetres")
MOST_AXES = 16
"""The largest number of axes of a file."""


@dataclass(frozen=True)
class TextHeader:
    """What a header says.

    Attributes:
        stored: Where and how the voxels are stored.
        sizes: Numbers along each axis of the file, the fastest first.
        component_axis: The axis along which the components of a voxel lie; None for one number per voxel.
        geometry: The grid, without the axis of components.
        notices: What the user should know about the file.
    """

    stored: StoredVoxels
    sizes: tuple[int, ...]
    component_axis: int | None
    geometry: Geometry
    notices: tuple[Notice, ...] = ()

    @property
    def components(self) -> int:
        """Numbers per voxel."""
        return 1 if self.component_axis is None else self.sizes[self.component_axis]


class TextHeaderFormat(Format):
    """A format with a text header.

    Attributes:
        image_io: Name of the ITK class that writes it.
        end_of_header: What a header ends with.
    """

    image_io: str
    end_of_header: re.Pattern[bytes]

    @abstractmethod
    def parse(self, path: Path, content: bytes) -> TextHeader:
        """Read a header; ``content`` is the beginning of the file, with the whole header.

        Raises:
            UserError, DamagedFileError: As in :meth:`read_header`.
        """

    def read_header(self, path: Path) -> TextHeader:
        """Read the header of a file.

        Raises:
            UserError: The file is whole, but cannot be used.
            DamagedFileError: The header is wrong, or the file of the voxels is missing.
            OSError: The file cannot be read.
        """
        content = b""
        with path.open("rb") as handle:
            for size in _STEPS:
                content += handle.read(size)
                if self.end_of_header.search(content):
                    break
        return self.parse(path, content)

    def open(self, path: Path) -> Source:
        """As in :class:`Format`."""
        header = self.read_header(path)
        late: list[Notice] = []

        def read() -> NDArray[Any]:
            values, trailing = _read(header)
            late[:] = trailing_notices(header.stored.file, trailing)
            return values

        return Source(header.geometry, header.components, read, header.notices, lambda: tuple(late))

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`."""
        verify_voxels(self.read_header(path).stored)

    def companions(self, path: Path) -> list[Path]:
        """The voxels beside a header; none for a header that is damaged or refused, as reading it will explain."""
        try:
            voxels = self.read_header(path).stored.file
        except (UserError, DamagedFileError, OSError):
            return []
        return [] if voxels == path else [voxels]

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """As in :class:`Format`. The voxels of a header without voxels go to a file beside it."""
        # Some names mean something to ITK or in a header: it writes under one that means nothing.
        plain = path.with_name(f"umseg{uuid.uuid4().hex}{path.suffix.lower()}")
        write_itk(plain, self.image_io, values, geometry)
        voxels = self.read_header(plain).stored.file
        if voxels != plain:
            final = path.with_name(_voxel_stem(path.stem) + voxels.name.removeprefix(plain.stem))
            plain.write_bytes(plain.read_bytes().replace(voxels.name.encode(), os.fsencode(final.name)))
            voxels.replace(final)
        plain.replace(path)


def _voxel_stem(stem: str) -> str:
    """What the name of the voxels beside a header begins with: the header's own, if it can stand in a header."""
    if _PLAIN_STEM.fullmatch(stem) and not stem.startswith("LIST"):
        return stem
    return f"voxels-{re.sub(r'[^A-Za-z0-9._-]+', '_', stem)[:_LONGEST_STEM]}-{zlib.crc32(os.fsencode(stem)):08x}"


def _read(header: TextHeader) -> tuple[NDArray[Any], int]:
    """The voxels, (components, z, y, x), and the number of bytes behind them that belong to nothing."""
    values, trailing = read_voxels(header.stored)
    values = values.reshape(header.sizes[::-1])
    if header.component_axis is not None:
        values = np.moveaxis(values, len(header.sizes) - 1 - header.component_axis, 0)
    return values.reshape(header.components, *header.geometry.shape), trailing


def voxels_beside(path: Path, named: bytes) -> Path:
    """The file of voxels that a header names.

    Raises:
        UserError: It is not a single file of voxels in the same folder.
        DamagedFileError: It does not exist.
    """
    name = named.decode(errors="surrogateescape").removeprefix("./")
    # MetaIO takes any name that begins with LIST for a list of files, and any with % for a pattern.
    is_pattern = (name.startswith("LIST") or "%" in name) and not path.with_name(name.replace("\0", "")).is_file()
    if not name.lower().endswith(_VOXEL_ENDINGS) or set(name) & set("/\\:\0") or is_pattern:
        raise UserError(
            "An image has its voxels in other files.",
            file=path,
            found=printable(name),
            expected="voxels in the file itself, or in one .raw file in the same folder",
            remedy="Convert the image to .nii.gz, e.g. with 3D Slicer or SimpleITK.",
        )
    voxels = path.with_name(name)
    if not voxels.is_file():
        state = "no file" if voxels.exists() else "missing"
        raise DamagedFileError(f"the file of its voxels is {state}: {name}")
    return voxels


def printable(text: str | bytes) -> str:
    """A text of a header as it may stand in a message."""
    letters = text.decode("latin-1") if isinstance(text, bytes) else text
    return "".join(letter for letter in letters if letter.isprintable())[:80]


def unusable(path: Path, problem: str, found: str, expected: str) -> UserError:
    """The error for a header that is whole, but describes an image that cannot be used."""
    return UserError(
        problem,
        file=path,
        found=found,
        expected=expected,
        remedy="Correct the header, or convert the image to .nii.gz with the program that made it.",
    )


def unit_notices(path: Path, units: Iterable[str]) -> tuple[Notice, ...]:
    """A notice for lengths that a header states in another unit than millimetres."""
    others = sorted({printable(unit) for unit in units if unit.strip().lower() not in _MILLIMETRES})
    if not others:
        return ()
    return (
        Notice(
            "The lengths in a header are taken as millimetres, although it names another unit.",
            path,
            found=f"unit {', '.join(others[:3])}",
            expected="mm",
            remedy="Convert the spacing and the origin to millimetres if the size of a voxel matters.",
        ),
    )


def integers(field: str, text: bytes, count: int | None = None) -> tuple[int, ...]:
    """The whole numbers of a field.

    Raises:
        DamagedFileError: They are others, or not so many.
    """
    words = text.split()
    if not words or not all(re.fullmatch(rb"[+-]?\d{1,18}", word) for word in words):
        raise DamagedFileError(f"the field {field} is not a list of whole numbers: {printable(text)}")
    return tuple(map(int, _expect_count(field, words, count)))


def extents(field: str, text: bytes, count: int) -> tuple[int, ...]:
    """The numbers of voxels along each axis.

    Raises:
        DamagedFileError: They are others, negative, or not so many.
    """
    sizes = integers(field, text, count)
    if min(sizes) < 0:
        raise DamagedFileError(f"the field {field} has a negative number: {printable(text)}")
    return sizes


def numbers(field: str, text: bytes, count: int) -> tuple[float, ...]:
    """The numbers of a field; NaN and infinity are numbers.

    Raises:
        DamagedFileError: They are others, or not so many.
    """
    try:
        return tuple(map(float, _expect_count(field, text.split(), count)))
    except ValueError as error:
        raise DamagedFileError(f"the field {field} is not a list of numbers: {printable(text)}") from error


def _expect_count(field: str, words: Sequence[bytes], count: int | None) -> Sequence[bytes]:
    if count is not None and len(words) != count:
        raise DamagedFileError(f"the field {field} has {len(words)} values, not {count}")
    return words


def without_single_axes(geometry: Geometry) -> Geometry:
    """The geometry without trailing axes of one voxel: a 4-D file of a single volume is a 3-D image."""
    stored = axes = geometry.dimensions
    while axes > 3 and geometry.size[axes - 1] == 1:
        axes -= 1
    direction = np.reshape(geometry.direction, (stored, stored))[:axes, :axes]
    return replace(
        geometry,
        size=geometry.size[:axes],
        spacing=geometry.spacing[:axes],
        origin=geometry.origin[:axes],
        direction=tuple(map(float, direction.ravel())),
    )
