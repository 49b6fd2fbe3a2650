"""Image files that ITK reads."""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.formats import itk_class
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.integrity import check_file, check_header
from umseg.dataset.io.source import DamagedFileError, Source
from umseg.dataset.io.text_header import VOXEL_ENDINGS, has_text_header, read_text_header

if TYPE_CHECKING:
    import SimpleITK as sitk


def open_itk(path: Path) -> Source:
    """Read a file's header.

    Trailing axes of one voxel are left out: a 4-D file of a single volume is a 3-D image.

    Raises:
        RuntimeError, DamagedFileError, OSError: The file cannot be read.
        UserError: The format is none of those that are read, the voxels are in other files, or the values are complex.
    """
    from umseg.dataset.io.lazy_sitk import sitk

    kind = itk_class(path)
    check_header(path)
    if sitk.ImageFileReader.GetImageIOFromFileName(str(path)) != kind:
        raise DamagedFileError("the file is not what its ending says")
    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind)
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


def write_itk(image: sitk.Image, temporary: Path, path: Path) -> None:
    """Write a file under a temporary name, compressed. The voxels of a ``.mhd`` or ``.nhdr`` go to a file beside.

    Args:
        image: What to write.
        temporary: In the same folder as ``path`` and with its ending.
        path: What the file will be called; the name of the voxels' file follows it.

    Raises:
        RuntimeError, OSError: The file cannot be written.
    """
    from umseg.dataset.io.lazy_sitk import sitk

    writer = sitk.ImageFileWriter()
    writer.SetImageIO(itk_class(path))
    writer.UseCompressionOn()
    writer.SetFileName(str(temporary))
    try:
        writer.Execute(image)
        voxels = read_text_header(temporary).voxels if has_text_header(path) else temporary
        if voxels == temporary:
            return
        beside = path.with_name(voxels.name.replace(temporary.stem, path.stem))
        temporary.write_bytes(temporary.read_bytes().replace(voxels.name.encode(), beside.name.encode()))
        # At no time does a header stand beside voxels that are not its own.
        path.unlink(missing_ok=True)
        voxels.replace(beside)
    finally:
        for ending in VOXEL_ENDINGS:
            temporary.with_suffix(ending).unlink(missing_ok=True)


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
    from umseg.dataset.io.lazy_sitk import sitk

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
