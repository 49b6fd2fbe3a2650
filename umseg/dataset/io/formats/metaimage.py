"""MetaImage: ``.mha``, and ``.mhd`` with its voxels in a file beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from umseg.dataset.io.formats.text_header import TextHeader, TextHeaderFormat, voxels_beside
from umseg.dataset.io.source import DamagedFileError

# MetaIO, which ITK reads with, writes behind its arrays for more.
_MOST_DIMENSIONS = 10
_PLACE = re.compile(rb"^\s*ElementDataFile\s*=[ \t]*([^\r\n]*?)[ \t]*\r?$", re.M)
_IN_THE_FILE = (b"LOCAL", b"Local", b"local")


class MetaImage(TextHeaderFormat):
    """MetaImage files."""

    name = "MetaImage"
    endings = (".mha", ".mhd")
    image_io = "MetaImageIO"

    def parse(self, path: Path, content: bytes) -> TextHeader:
        """As in :class:`TextHeaderFormat`."""
        # This field ends the header. What only looks like it, and other parsers might take for it, is refused.
        start = content.find(b"\n", content.find(b"ElementDataFile")) + 1
        header = content[: start or len(content)]
        places = _PLACE.findall(header)
        if len(places) != 1:
            raise DamagedFileError("the header does not say where the voxels are")
        dimensions = re.findall(rb"^\s*NDims\s*=\s*([^\r\n]*)", header, re.I | re.M)
        single = len(dimensions) == 1 and dimensions[0].strip().isdigit()
        if not single or not 1 <= int(dimensions[0]) <= _MOST_DIMENSIONS:
            raise DamagedFileError("the header does not say how many dimensions there are")
        if places[0] in _IN_THE_FILE:
            return TextHeader(path, len(header), _encoding(header))
        return TextHeader(voxels_beside(path, places[0]), 0, _encoding(header))


def _encoding(header: bytes) -> Literal["raw", "gzip", "other"]:
    if re.search(rb"^\s*CompressedData\s*=\s*True", header, re.I | re.M):
        return "gzip"
    return "other" if re.search(rb"^\s*BinaryData\s*=\s*False", header, re.I | re.M) else "raw"
