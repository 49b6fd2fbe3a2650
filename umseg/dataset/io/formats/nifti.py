"""NIfTI: ``.nii`` and ``.nii.gz``."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.dataset.io.format import Format
from umseg.dataset.io.formats.itk import open_itk, write_itk
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Source

_ITK = "NiftiImageIO"
_GZIP_MAGIC = b"\x1f\x8b"
_HEADER, _HEADER_OF_NIFTI2 = 348, 540


class Nifti(Format):
    """NIfTI files: read and written by ITK, and by nibabel where ITK does not return what is in them."""

    name = "NIfTI"
    endings = (".nii.gz", ".nii")

    def open(self, path: Path) -> Source:
        """As in :class:`Format`; also opens NIfTI-2 and files whose axes are not at right angles, which ITK refuses."""
        from umseg.dataset.io.formats.nifti_voxels import open_oblique, read_floats

        _check_magic(path)
        try:
            source = open_itk(path, _ITK, self.check)
        except (RuntimeError, DamagedFileError):
            oblique = open_oblique(path)
            if oblique is None:
                raise
            source = oblique

        def read() -> NDArray[Any]:
            floats = read_floats(path, source.geometry)
            return source.read() if floats is None else floats

        return replace(source, read=read)

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`: ITK ignores gzip checksums and fills what is missing with zeros."""
        from umseg.dataset.io.formats.nifti_voxels import check_file

        check_file(path)

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """As in :class:`Format`."""
        with atomic_path(path) as temporary:
            if geometry.dimensions == 3 and not geometry.is_orthogonal:
                from umseg.dataset.io.formats.nifti_voxels import write_oblique

                write_oblique(temporary, values, geometry)
            else:
                write_itk(temporary, _ITK, values, geometry)


def _check_magic(path: Path) -> None:
    """Require a NIfTI header with its voxels behind it: ITK would look for those of a pair in another file."""
    with path.open("rb") as handle:
        packed = handle.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    try:
        with gzip.open(path) if packed else path.open("rb") as handle:
            head = handle.read(_HEADER)
    except (EOFError, zlib.error) as error:
        raise DamagedFileError(str(error)) from error
    magic = head[4:7] if _HEADER_OF_NIFTI2.to_bytes(4, "little") in (head[:4], head[3::-1]) else head[344:347]
    if magic in (b"ni1", b"ni2"):
        raise UserError(
            "An image has its voxels in another file.",
            file=path,
            found="the header of a NIfTI pair (.hdr and .img)",
            expected="header and voxels in one file",
            remedy="Convert the pair to .nii.gz, e.g. with 3D Slicer or nibabel.",
        )
    if magic not in (b"n+1", b"n+2"):
        raise DamagedFileError("the file does not begin as a NIfTI file does")
