"""Image files that ITK reads and writes."""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import Source

if TYPE_CHECKING:
    import SimpleITK as sitk

Check = Callable[[Path, int], None]
"""``Format.check``: ITK fills what is missing in many files with zeros, grey or old memory, so that it goes first."""


def open_itk(path: Path, image_io: str, check: Check) -> Source:
    """Read the header of a file, whose first bytes were found to be those of its format.

    Trailing axes of one voxel are left out: a 4-D file of a single volume is a 3-D image.

    Args:
        path: The file.
        image_io: Name of the ITK class that reads this format.
        check: Verifies the file before its voxels are read.

    Raises:
        RuntimeError: The file cannot be read.
        UserError: The values are complex.
    """
    from umseg.dataset.io.formats.lazy_sitk import sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    pixel = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in pixel:
        raise complex_values(path, pixel)
    components = int(reader.GetNumberOfComponents())
    return Source(_geometry(reader), components, lambda: _read(path, reader, components, check))


def complex_values(path: Path, found: str) -> UserError:
    """The error for an image of complex values."""
    return UserError(
        "The image has complex values.",
        file=path,
        found=found,
        expected="real values",
        remedy="Save the magnitude as a real-valued image.",
    )


def write_itk(path: Path, image_io: str, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
    """Write a label map, compressed.

    Args:
        path: The file, whose name has an ending of the format.
        image_io: Name of the ITK class that writes this format.
        values: (z, y, x); z is 1 for a 2-D geometry.
        geometry: The grid of the label map.

    Raises:
        RuntimeError: The file cannot be written.
    """
    from umseg.dataset.io.formats.lazy_sitk import sitk

    image = sitk.GetImageFromArray(values[0] if geometry.dimensions == 2 else values)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO(image_io)
    writer.UseCompressionOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def _geometry(reader: sitk.ImageFileReader) -> Geometry:
    size, stored = reader.GetSize(), reader.GetDimension()
    axes = stored
    while axes > 3 and size[axes - 1] == 1:
        axes -= 1
    direction = np.reshape(reader.GetDirection(), (stored, stored))[:axes, :axes]
    return Geometry(
        size[:axes], reader.GetSpacing()[:axes], reader.GetOrigin()[:axes], tuple(map(float, direction.ravel()))
    )


def _read(path: Path, reader: sitk.ImageFileReader, components: int, check: Check) -> NDArray[Any]:
    from umseg.dataset.io.formats.lazy_sitk import sitk

    size = reader.GetSize()
    scalar = sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    check(path, math.prod(size) * components * scalar)
    if len(size) > 3:
        reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
    image: sitk.Image = reader.Execute()
    array = sitk.GetArrayFromImage(image)
    if components == 1:
        array = array[..., None]
    if image.GetDimension() == 2:
        array = array[None]
    return np.moveaxis(array, -1, 0)
