"""Images in the memory of a program: arrays, and images of SimpleITK and nibabel; label maps are of the same kind."""

# The methods of SimpleITK and nibabel carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.text import by, few
from umseg.dataset.io.grid import Geometry, placement_difference, spacings_agree
from umseg.dataset.io.images import array_spacing
from umseg.dataset.io.orientation import grid_axes
from umseg.dataset.io.soundness import sound_geometry
from umseg.dataset.io.source import DamagedFileError

Spacing = tuple[float, float, float]
_EXPECTED = "an array (channels, z, y, x), or an image of SimpleITK or nibabel; several channels as a list of images"
_MEMORY = Path("an image in memory")


@dataclass(frozen=True)
class GivenImage:
    """An image that a program gave.

    Attributes:
        array: (channels, z, y, x); z is 1 for a 2-D image.
        spacing: mm per voxel along z, y, x.
        axes: The orientation in which it is stored; None if that is not known.
        like: Makes an image of the same kind, on the same grid, of a label map (z, y, x).
    """

    array: NDArray[Any]
    spacing: Spacing
    axes: str | None
    like: Callable[[NDArray[Any]], Any]


def given_image(image: Any, spacing: Spacing | None = None) -> GivenImage:
    """Look at an image.

    Args:
        image: An array (channels, z, y, x), or an image of SimpleITK or nibabel, or a list of those, one per channel.
        spacing: mm per voxel along z, y, x; for arrays alone, because images state it.

    Raises:
        UserError: It is something else, has too many axes, or its channels lie on different grids; or there is no
            spacing for an array, or one for an image.
    """
    if isinstance(image, np.ndarray):
        if spacing is None:
            raise UserError(
                "An array has no spacing of its own.",
                expected="three positive numbers: the size of a voxel along z, y and x in mm",
                remedy="Give the spacing beside the array.",
            )
        return GivenImage(image, spacing, None, lambda label_map: label_map)
    channels = list(image) if isinstance(image, (list, tuple)) else [image]
    kinds = {_kind(channel) for channel in channels}
    if len(kinds) != 1 or None in kinds:
        found = few(sorted({f"{type(one).__module__}.{type(one).__qualname__}" for one in channels})) or "an empty list"
        raise UserError("An image is of a kind that is not known.", found=found, expected=_EXPECTED)
    if spacing is not None:
        raise UserError(
            "A spacing is given for an image that states its own.",
            found=spacing,
            expected="a spacing for arrays alone",
            remedy="Leave the spacing out.",
        )
    return _of_itk(channels) if kinds == {"SimpleITK"} else _of_nibabel(channels)


def _kind(image: Any) -> str | None:
    """The library of an image, which is imported if there is one of its images."""
    names = {base.__module__.partition(".")[0] for base in type(image).__mro__}
    return next((name for name in ("SimpleITK", "nibabel") if name in names), None)


def _of_itk(images: Sequence[Any]) -> GivenImage:
    import SimpleITK as sitk

    grids = [Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()) for image in images]
    arrays = [_components_first(sitk.GetArrayFromImage(image), grid) for image, grid in zip(images, grids, strict=True)]

    def like(label_map: NDArray[Any]) -> Any:
        label = sitk.GetImageFromArray(label_map[0] if grids[0].dimensions == 2 else label_map)
        label.CopyInformation(images[0])
        return label

    return _given(arrays, grids, like)


def _components_first(values: NDArray[Any], grid: Geometry) -> NDArray[Any]:
    """(z, y, x[, components]) as (components, z, y, x)."""
    if values.ndim == grid.dimensions:
        values = values[..., None]
    return np.moveaxis(values, -1, 0)


def _of_nibabel(images: Sequence[Any]) -> GivenImage:
    import nibabel

    from umseg.dataset.io.formats.nifti.header import grid_of_fields
    from umseg.dataset.io.formats.nifti.placement import label_header
    from umseg.dataset.io.formats.nifti.voxels import nifti_image

    grids, arrays = [], []
    for image in images:
        # Other formats of nibabel's have no header of which a label map could get a part.
        known = isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti2Image))
        fields = image.header if known else nibabel.Nifti1Image(np.empty(image.shape, np.uint8), image.affine).header
        try:
            grid = grid_of_fields(fields)
        except DamagedFileError as error:
            raise UserError("The header of an image is not valid.", found=str(error)) from error
        values = np.asanyarray(image.dataobj)
        grids.append(grid)
        arrays.append(values.reshape(grid.size).T[None] if values.size == np.prod(grid.size) else values)

    def like(label_map: NDArray[Any]) -> Any:
        flat = label_map[0].T if grids[0].dimensions == 2 else label_map.T
        image = nifti_image(flat, label_header(grids[0], large=isinstance(images[0], nibabel.Nifti2Image)))
        # Made for a file, it has no affine of its own; one that is the header's leaves the header as it is.
        return type(image)(flat, image.header.get_best_affine(), image.header)

    return _given(arrays, grids, like)


def _given(
    arrays: Sequence[NDArray[Any]], grids: Sequence[Geometry], like: Callable[[NDArray[Any]], Any]
) -> GivenImage:
    first = grids[0]
    if first.dimensions not in (2, 3) or any(array.ndim != first.dimensions + 1 for array in arrays):
        raise UserError(
            "An image has too many axes.",
            found=f"size {by(first.size)}, an array of shape {by(arrays[0].shape)}",
            expected="two or three axes, and numbers as values",
            remedy="Give the volumes of a series one by one; channels as a list of images.",
        )
    for grid in grids:
        if grid.size != first.size or not spacings_agree(grid, first) or placement_difference(grid, first) is not None:
            raise UserError(
                "The channels of an image lie on different grids.",
                found=f"size {by(grid.size)}, spacing {by(grid.spacing)}, origin {by(grid.origin)}",
                expected=f"size {by(first.size)}, spacing {by(first.spacing)}, origin {by(first.origin)}",
                remedy="Resample the channels to one grid.",
            )
    geometry, _ = sound_geometry(_MEMORY, first)
    array = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    array = array[:, None] if first.dimensions == 2 else array
    return GivenImage(array, array_spacing(geometry), grid_axes(geometry), like)
