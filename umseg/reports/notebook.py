"""``umseg.show``: an image with its labels in a notebook, in the viewer NiiVue."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import read_image, read_label
from umseg.dataset.io.orientation import turn_onto
from umseg.dataset.training_case import turned
from umseg.reports.page.palette import on_images, rgb
from umseg.reports.page.pictures.volumes import as_nifti

_OPACITY = 0.5


def show(
    image: NDArray[Any] | str | PathLike[str],
    labels: NDArray[Any] | str | PathLike[str] | None = None,
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    names: Sequence[str] = (),
    height: int = 480,
) -> Any:
    """Show an image and a label map in a notebook: three planes and the volume, which turn and scroll.

    Args:
        image: A file, or an array (z, y, x) or (channels, z, y, x), of which the first channel is shown.
        labels: A file or an array (z, y, x) on the grid of the image; None shows the image alone.
        spacing: Size of a voxel along z, y and x in mm, of arrays. Files state their own.
        names: Names of the classes 1, 2, ..., which are shown at the pointer.
        height: Height of the viewer in pixels.

    Returns:
        A widget of ipyniivue, which a notebook displays.

    Raises:
        UserError: The extra ``notebook`` is not installed, a file cannot be read, or the shapes differ.
        ValueError: An array does not have the axes above.
    """
    try:
        import ipyniivue
    except ImportError as error:
        raise UserError(
            "umseg.show needs ipyniivue, which is not installed.", remedy='Run: pip install "umseg[notebook]"'
        ) from error
    values, geometry = _image(image, spacing)
    volumes = [_volume(ipyniivue, "image", values.astype(np.float32), geometry, 1.0)]
    if labels is not None:
        found = _labels(labels, image, geometry)
        if found.shape != values.shape:
            raise UserError(
                "The label map has another shape than the image.",
                found=f"{found.shape} (z, y, x)",
                expected=f"{values.shape} (z, y, x)",
            )
        volume = _volume(ipyniivue, "labels", found.astype(np.int16), geometry, _OPACITY)
        volume.set_colormap_label(_colours(int(found.max(initial=1)), names))
        volumes.append(volume)
    viewer = ipyniivue.NiiVue(height=height)
    viewer.load_volumes(volumes)
    return viewer


def _image(image: NDArray[Any] | str | PathLike[str], spacing: Sequence[float]) -> tuple[NDArray[Any], Geometry]:
    """The first channel (z, y, x), and its grid."""
    if not isinstance(image, np.ndarray):
        found = read_image([Path(image)], as_stored=True)
        return found.array[0], _solid(found.geometry)
    values = image[0] if image.ndim == 4 else image
    if values.ndim != 3 or len(spacing) != 3:
        raise ValueError(
            f"an image has the axes (z, y, x) or (channels, z, y, x), and a spacing three numbers; {image.shape}"
        )
    size, steps = tuple(reversed(values.shape)), tuple(float(step) for step in reversed(spacing))
    # ITK's axes grow to the left and to the back.
    return values, Geometry(size, steps, (0.0, 0.0, 0.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))


def _labels(
    labels: NDArray[Any] | str | PathLike[str], image: NDArray[Any] | str | PathLike[str], geometry: Geometry
) -> NDArray[Any]:
    """The label map along the axes of the image."""
    if isinstance(labels, np.ndarray):
        return labels
    found = read_label(Path(labels))
    turn = None if isinstance(image, np.ndarray) else turn_onto(Path(labels), found.geometry, Path(image), geometry)
    return (turned(found, turn) if turn else found).array


def _solid(geometry: Geometry) -> Geometry:
    """The grid of a volume; that of a picture with a slice of the thickness of a pixel."""
    if geometry.dimensions == 3:
        return geometry
    return Geometry(
        (*geometry.size, 1), (*geometry.spacing, geometry.spacing[0]), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)
    )


def _volume(ipyniivue: Any, name: str, values: NDArray[Any], geometry: Geometry, opacity: float) -> Any:
    """A volume of ipyniivue."""
    content = as_nifti(values, geometry)
    return ipyniivue.Volume(data=content, name=f"{name}.nii.gz", colormap="gray", opacity=opacity)


def _colours(highest: int, names: Sequence[str]) -> dict[str, list[Any]]:
    """The table of colours and names of the values from 0."""
    table = [(0, 0, 0), *(rgb(code) for code in on_images(highest))]
    red, green, blue = (list(part) for part in zip(*table, strict=True))
    shown = ["", *(names[n] if n < len(names) else str(n + 1) for n in range(highest))]
    values = list(range(highest + 1))
    return {"R": red, "G": green, "B": blue, "A": [0] + [255] * highest, "I": values, "labels": shown}
