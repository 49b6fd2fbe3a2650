"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_LENGTH = 512


@dataclass(frozen=True)
class Content:
    """A kind of file.

    Attributes:
        name: What it is called, with its article.
        endings: Endings of such files; none for a kind that is no image.
        remedy: What helps who has such a file under the name of another kind; empty for an image, which is renamed.
    """

    name: str
    endings: tuple[str, ...] = ()
    remedy: str = ""


_DECOMPRESS = "Decompress the file with the program that made it, or write it again, e.g. with nibabel."
_DOWNLOAD = "Download the file again: what was saved is a message of the server, which may ask for a login first."
_KINDS = (
    (rb"\x89PNG\r\n\x1a\n", Content("a PNG file", (".png",))),
    (rb"\xff\xd8\xff", Content("a JPEG file", (".jpg", ".jpeg"))),
    (rb"BM.{4}\0{4}", Content("a BMP file", (".bmp",))),
    (rb"II[*+]\0|MM\0[*+]", Content("a TIFF file", (".tif", ".tiff"))),
    (rb"NRRD\d{4}\r?\n", Content("a NRRD file", (".nrrd", ".nhdr"))),
    (rb"(?:ObjectType|NDims)\s*=", Content("a MetaImage file", (".mha", ".mhd"))),
    (rb".{128}DICM", Content("a DICOM file", (".dcm",))),
    (rb"(?:\x5c\x01\0\0|\0\0\x01\x5c).{340}n[i+]1\0", Content("a NIfTI file", (".nii", ".nii.gz"))),
    (rb"(?:\x1c\x02\0\0|\0\0\x02\x1c)n[i+]2\0", Content("a NIfTI file", (".nii", ".nii.gz"))),
    (rb"\x1f\x8b\x08", Content("a gzip file", (".nii", ".nii.gz"), _DECOMPRESS)),
    (rb"\xfd7zXZ\0", Content("an xz file", (), _DECOMPRESS)),
    (rb"BZh[1-9]1AY&SY", Content("a bzip2 file", (), _DECOMPRESS)),
    (rb"\x28\xb5\x2f\xfd", Content("a zstd file", (), _DECOMPRESS)),
    (rb"PK\x03\x04", Content("a zip archive", (), "Unpack the archive.")),
    (rb"RIFF.{4}WEBP", Content("a WebP file", (), "Convert the image to .png, e.g. with Pillow.")),
    (rb"GIF8[79]a", Content("a GIF file", (), "Convert the image to .png, e.g. with Pillow.")),
    (rb"\x89HDF\r\n\x1a\n", Content("an HDF5 file", (), "Convert the image to .nii.gz or .tif, e.g. with h5py.")),
    (rb"\x93NUMPY", Content("a NumPy file", (), "Convert the array to .nii.gz or .tif.")),
    (rb"\s*(?i:<!doctype html|<html)", Content("a web page", (), _DOWNLOAD)),
)
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), content) for pattern, content in _KINDS)


def foreign_content(path: Path) -> Content | None:
    """The kind of a file that is of another kind than its ending says; None if it is not, or of a kind unknown here."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as handle:
            begin = handle.read(_LENGTH)
    except OSError:
        return None
    found = next((content for pattern, content in _PATTERNS if pattern.match(begin)), None)
    return None if found is None or path.name.lower().endswith(found.endings) else found
