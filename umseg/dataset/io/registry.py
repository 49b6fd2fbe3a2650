"""The table of file formats: what is not entered here is given to no library.

A library that looks at contents instead finds formats that nobody meant, with readers that trust what a file says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.registry import Registry
from umseg.dataset.io.format import Format
from umseg.dataset.io.formats.dicom.format import Dicom
from umseg.dataset.io.formats.metaimage import MetaImage
from umseg.dataset.io.formats.nifti.format import Nifti
from umseg.dataset.io.formats.nrrd import Nrrd
from umseg.dataset.io.formats.pictures.bmp import Bmp
from umseg.dataset.io.formats.pictures.jpeg import Jpeg
from umseg.dataset.io.formats.pictures.png import Png
from umseg.dataset.io.formats.tiff.format import Tiff
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import Source

FORMATS: Registry[Format] = Registry(
    "file format",
    "umseg.formats",
    {
        "nifti": Nifti(),
        "metaimage": MetaImage(),
        "nrrd": Nrrd(),
        "png": Png(),
        "bmp": Bmp(),
        "tiff": Tiff(),
        "jpeg": Jpeg(),
        "dicom": Dicom(),
    },
    accepts=Format,
)
"""All file formats. Another package adds one as an entry point in the group ``umseg.formats``: a ``Format`` object."""


class _Unknown(Format):
    """The format of all files that no other format claims."""

    name = "unknown"
    endings = ()

    def open(self, path: Path) -> Source:
        raise _not_a_format(path)

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        raise _not_a_format(path)


UNKNOWN: Format = _Unknown()
"""Stands for a format that is in no table: its files are listed by their names, but neither read nor written."""


def format_of(path: Path) -> Format:
    """The format of an image: by its name, of several that fit the one with the longest ending; or else by its content.

    Raises:
        UserError: The path cannot be looked at, or an installed package defines a format that cannot be used.
    """
    by_name = sorted(FORMATS.values(), key=lambda entry: -len(entry.ending_of(path)))
    return next((entry for entry in by_name if entry.matches(path)), UNKNOWN)


def format_with_ending(file_ending: str) -> Format:
    """The format of a data set's images, by the ``file_ending`` of its ``dataset.json``."""
    name = Path(f"case{file_ending}")
    best = max(FORMATS.values(), key=lambda entry: len(entry.ending_of(name)))
    return best if best.ending_of(name) else UNKNOWN


def is_image(path: Path) -> bool:
    """Whether there is a file, whatever its format, or a folder that is an image.

    Raises:
        UserError: The path cannot be looked at.
    """
    return path.is_file() or (path.is_dir() and format_of(path) is not UNKNOWN)


def companions(path: Path) -> list[Path]:
    """The files that are read together with an image file: voxels beside a header, the JSON file of a TIFF stack."""
    return format_of(path).companions(path)


def label_endings() -> tuple[str, ...]:
    """The endings of files that hold label maps."""
    return tuple(
        ending
        for entry in FORMATS.values()
        for ending in entry.endings
        if not entry.lossy and entry.label_ending(ending) == ending
    )


def picture_endings() -> tuple[str, ...]:
    """The endings of pictures."""
    return tuple(ending for entry in FORMATS.values() if entry.is_picture for ending in entry.endings)


def _not_a_format(path: Path) -> UserError:
    return UserError(
        "This image format is neither read nor written.",
        file=path,
        found=path.suffix or "no ending",
        expected=", ".join(ending for entry in FORMATS.values() for ending in entry.endings),
        remedy="Convert the image to .nii.gz, e.g. with 3D Slicer or nibabel.",
    )
