"""MetaImage and NRRD: a text header, and the voxels behind it or in a file beside it.

Such a header may name any file, many files or a pattern of names, and ITK follows it. Here only one file in the folder
of the header will do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from umseg.common.errors import UserError
from umseg.dataset.io.formats import META_ENDINGS, NRRD_ENDINGS, has_ending
from umseg.dataset.io.source import DamagedFileError

VOXEL_ENDINGS = (".raw", ".zraw", ".raw.gz")
"""Of the files beside a header."""

RAW, GZIP, OTHER = "raw", "gzip", "other"

_LIMIT = 1 << 20
# MetaIO, which ITK reads with, writes behind its arrays for more.
_META_DIMENSIONS = 10
_META_PLACE = re.compile(rb"^\s*ElementDataFile\s*=[ \t]*([^\r\n]*?)[ \t]*\r?$", re.M)
_NRRD_PLACE = re.compile(rb"^data ?file:[ \t]*([^\r\n]*?)[ \t]*\r?$", re.I | re.M)
_IN_THE_FILE = (b"LOCAL", b"Local", b"local")


@dataclass(frozen=True)
class TextHeader:
    """What the header says of the voxels.

    Attributes:
        voxels: The file that holds them; the header's own, or one in the same folder.
        start: Where they begin in it, bytes.
        encoding: ``raw``, ``gzip``, or ``other``.
    """

    voxels: Path
    start: int
    encoding: str


def has_text_header(path: Path) -> bool:
    """By its name."""
    return has_ending(path, (*META_ENDINGS, *NRRD_ENDINGS))


def read_text_header(path: Path) -> TextHeader:
    """Find the voxels of a MetaImage or NRRD file.

    Raises:
        UserError: They are in several files, or in another folder.
        DamagedFileError: The header does not say where they are, or in how many dimensions, or they are not there.
        OSError: The file cannot be read.
    """
    with open(path, "rb") as handle:
        content = handle.read(_LIMIT)
    return _meta(path, content) if has_ending(path, META_ENDINGS) else _nrrd(path, content)


def _meta(path: Path, content: bytes) -> TextHeader:
    # The field ends the header. Anything that only looks like it, which other parsers might take for it, is refused.
    start = content.find(b"\n", content.find(b"ElementDataFile")) + 1
    header = content[: start or len(content)]
    places = _META_PLACE.findall(header)
    if len(places) != 1:
        raise DamagedFileError("the header does not say where the voxels are")
    dimensions = re.findall(rb"^\s*NDims\s*=\s*([^\r\n]*)", header, re.I | re.M)
    if len(dimensions) != 1 or not dimensions[0].strip().isdigit() or not 1 <= int(dimensions[0]) <= _META_DIMENSIONS:
        raise DamagedFileError("the header does not say how many dimensions there are")
    if re.search(rb"^\s*CompressedData\s*=\s*True", header, re.I | re.M):
        encoding = GZIP
    else:
        encoding = OTHER if re.search(rb"^\s*BinaryData\s*=\s*False", header, re.I | re.M) else RAW
    if places[0] in _IN_THE_FILE:
        return TextHeader(path, len(header), encoding)
    return TextHeader(_beside(path, places[0]), 0, encoding)


def _nrrd(path: Path, content: bytes) -> TextHeader:
    end = re.search(rb"\r?\n\r?\n", content)
    header = content if end is None else content[: end.end()]
    places = _NRRD_PLACE.findall(header)
    if len(places) > 1:
        raise DamagedFileError("the header names two places of the voxels")
    found = re.search(rb"^encoding:\s*(\w+)", header, re.I | re.M)
    encoding = {b"gzip": GZIP, b"gz": GZIP, b"raw": RAW}.get(found[1].lower() if found else b"", OTHER)
    if not places:
        return TextHeader(path, len(header), encoding)
    return TextHeader(_beside(path, places[0]), 0, encoding)


def _beside(path: Path, named: bytes) -> Path:
    name = named.decode(errors="surrogateescape").removeprefix("./")
    # MetaIO takes any name with LIST at its head for a list of files, and any with % for a pattern.
    if not name.lower().endswith(VOXEL_ENDINGS) or name.startswith("LIST") or set(name) & set("/\\:%"):
        raise UserError(
            "An image has its voxels in other files.",
            file=path,
            found="".join(letter for letter in name if letter.isprintable())[:80],
            expected="voxels in the file itself, or in one .raw file in the same folder",
            remedy="Convert the image to .nii.gz, e.g. with 3D Slicer or SimpleITK.",
        )
    voxels = path.with_name(name)
    if not voxels.is_file():
        raise DamagedFileError(f"its voxels are not there: {name}")
    return voxels
