"""Image files that ITK reads."""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.grid import Geometry
from umseg.dataset.integrity import check_file, check_header
from umseg.dataset.source import Source

# ITK prints its warnings to stderr whatever the log level; what matters here is checked and raised instead.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def open_itk(path: Path) -> Source:
    """Read a file's header.

    Trailing axes of one voxel are left out: a 4-D file of a single volume is a 3-D image.

    Raises:
        RuntimeError, DamagedFileError, OSError: The file cannot be read.
        UserError: The values are complex.
    """
    check_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    pixel = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in pixel:
        raise UserError(
            "The image has complex values.",
            file=path,
            found=pixel,
            expected="real values",
            remedy="Save the magnitude as a real-valued image.",
        )
    components = int(reader.GetNumberOfComponents())
    return Source(_geometry(reader), components, lambda: _read(path, reader, components))


def _geometry(reader: sitk.ImageFileReader) -> Geometry:
    size, stored = reader.GetSize(), reader.GetDimension()
    kept = stored
    while kept > 3 and size[kept - 1] == 1:
        kept -= 1
    direction = np.reshape(reader.GetDirection(), (stored, stored))[:kept, :kept]
    return Geometry(
        size[:kept], reader.GetSpacing()[:kept], reader.GetOrigin()[:kept], tuple(map(float, direction.ravel()))
    )


def _read(path: Path, reader: sitk.ImageFileReader, components: int) -> NDArray[Any]:
    size = reader.GetSize()
    scalar = sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    check_file(path, math.prod(size) * components * scalar)
    if len(size) > 3:
        reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
    image: sitk.Image = reader.Execute()
    array = sitk.GetArrayFromImage(image)
    if components == 1:
        array = array[..., None]
    if image.GetDimension() == 2:
        array = array[None]
    return np.moveaxis(array, -1, 0)
