"""Splitting NIfTI files of several channels into one file per channel without changing a value."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.common.text import by
from umseg.dataset.convert.target import copy_file
from umseg.dataset.io.formats.nifti.header import read_header
from umseg.dataset.io.formats.nifti.voxels import check_file, nifti_image, read_stored
from umseg.dataset.io.images import count_components
from umseg.dataset.io.source import DamagedFileError

FILE_ENDING = ".nii.gz"

_DAMAGED = "Unpack the archive again; take the case out of dataset.json if the file stays damaged."


def checked_grid(path: Path, channels: int) -> tuple[int, ...]:
    """Verify that an image is whole and has the given number of channels; return its size (x, y, z).

    Compressed files are read to their end; memory stays small.

    Raises:
        UserError: The file is missing or damaged, or has another number of channels.
    """
    components = count_components(path)
    try:
        shape = check_file(path).geometry.size
    except (DamagedFileError, OSError) as error:
        raise UserError("An image file is damaged.", file=path, found=str(error), remedy=_DAMAGED) from error
    if components != 1 or len(shape) > 4:
        raise UserError(
            "The file is neither a 3-D image nor a 4-D image of several channels.",
            file=path,
            found=f"size {by(shape)}, {components} numbers per voxel",
            expected="size x x y x z, or x x y x z x channels; one number per voxel",
            remedy="Save the image in this form, e.g. with nibabel.",
        )
    grid, last = (shape[:3], shape[3]) if len(shape) == 4 else (shape, 1)
    if last != channels:
        raise UserError(
            "The file has the wrong number of channels.",
            file=path,
            found=f"{last} (size {by(shape)})",
            expected=f"{channels}",
            remedy="An image has as many as 'modality' in dataset.json names, a label map has one. Correct either.",
        )
    return grid


def write_channels(path: Path, targets: Sequence[Path]) -> None:
    """Write one file per channel: a 3-D file is copied, and compressed if it is not; a 4-D file is split."""
    header = read_header(path)
    if len(header.geometry.size) == 4:
        _split(path, targets)
    elif header.packed:
        copy_file(path, targets[0])
    else:
        _pack(path, targets[0])


def _pack(path: Path, target: Path) -> None:
    # No time stamp: the same input gives the same file.
    with (
        atomic_path(target) as temporary,
        path.open("rb") as plain,
        gzip.GzipFile(temporary, "wb", compresslevel=1, mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, packed)


def _split(path: Path, targets: Sequence[Path]) -> None:
    """Write each channel of a 4-D file as a 3-D file: the stored numbers, data type, scaling and affine stay."""
    header = read_header(path)
    stored = read_stored(path, header)
    for channel, target in enumerate(targets):
        part = nifti_image(stored[..., channel], header.fields)
        # nibabel forgets the scaling of a header that it is given, and takes one that is set afterwards as it is.
        part.header.set_slope_inter(header.slope, header.inter)
        with atomic_path(target) as temporary, gzip.GzipFile(temporary, "wb", compresslevel=1, mtime=0) as packed:
            part.to_stream(packed)
