"""The files that belong to an image file and are no images themselves."""

from __future__ import annotations

from pathlib import Path

from umseg.common.errors import UserError
from umseg.dataset.io.source import DamagedFileError
from umseg.dataset.io.stacks import sidecars
from umseg.dataset.io.text_header import has_text_header, read_text_header


def companions(path: Path) -> list[Path]:
    """What is read together with an image file: the voxels beside a header, the JSON file of a TIFF stack.

    A header that is damaged or refused has none; whoever reads the image is told why.
    """
    if not has_text_header(path):
        return sidecars(path)
    try:
        voxels = read_text_header(path).voxels
    except (UserError, DamagedFileError, OSError):
        return []
    return [] if voxels == path else [voxels]
