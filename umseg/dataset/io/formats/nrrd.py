"""NRRD: ``.nrrd``, and ``.nhdr`` with its voxels in a file beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from umseg.dataset.io.formats.text_header import TextHeader, TextHeaderFormat, voxels_beside
from umseg.dataset.io.source import DamagedFileError

_PLACE = re.compile(rb"^data ?file:[ \t]*([^\r\n]*?)[ \t]*\r?$", re.I | re.M)
_ENCODINGS: dict[bytes, Literal["raw", "gzip"]] = {b"gzip": "gzip", b"gz": "gzip", b"raw": "raw"}


class Nrrd(TextHeaderFormat):
    """NRRD files."""

    name = "NRRD"
    endings = (".nrrd", ".nhdr")
    image_io = "NrrdImageIO"

    def parse(self, path: Path, content: bytes) -> TextHeader:
        """As in :class:`TextHeaderFormat`."""
        end = re.search(rb"\r?\n\r?\n", content)
        header = content if end is None else content[: end.end()]
        places = _PLACE.findall(header)
        if len(places) > 1:
            raise DamagedFileError("the header names two places of the voxels")
        found = re.search(rb"^encoding:\s*(\w+)", header, re.I | re.M)
        encoding: Literal["raw", "gzip", "other"] = _ENCODINGS.get(found[1].lower() if found else b"", "other")
        if not places:
            return TextHeader(path, len(header), encoding)
        return TextHeader(voxels_beside(path, places[0]), 0, encoding)
