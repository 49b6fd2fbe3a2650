"""The pictures and volumes of the cases of a page, each read and drawn by itself, also in worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import Image, read_image, read_label
from umseg.dataset.io.orientation import stored_axes, turn_onto
from umseg.dataset.training_case import turned
from umseg.reports.orientation import array_letters
from umseg.reports.page.pictures.planes import CasePictures, Maps, draw_planes
from umseg.reports.page.pictures.volumes import draw_volumes


@dataclass(frozen=True)
class CaseJob:
    """A case to draw.

    Attributes:
        case: Its name.
        images: Files of its image.
        reference: Its reference; None where there is none.
        predictions: Its prediction in every source; None where a source has none.
        description: Names of channels and classes; None where they are not known.
        threshold: Smallest IoU of two objects that match.
        planes: Characters that its planes may take in the page.
        volumes: Characters that its volumes may take; 0 shows none.
    """

    case: str
    images: tuple[Path, ...]
    reference: Path | None
    predictions: tuple[Path | None, ...]
    description: DatasetDescription | None
    threshold: float
    planes: int
    volumes: int


def draw_case(job: CaseJob) -> CasePictures:
    """The pictures of a case; a note in their place where its files do not lie on one grid, or cannot be read."""
    try:
        maps, geometry = _read(job)
    except UserError as error:
        return CasePictures(note=f"No picture: {error.problem} {error.found or ''}".strip())
    planes = draw_planes(maps, job.planes)
    volumes = draw_volumes(maps, geometry, job.volumes) if job.volumes else {}
    return CasePictures(planes, volumes)


def _read(job: CaseJob) -> tuple[Maps, Geometry]:
    channels = None if job.description is None else job.description.num_channels
    image = read_image(job.images, channels, as_stored=True)
    labels = {
        path: _labels(path, image, job.images[0]) for path in (job.reference, *job.predictions) if path is not None
    }
    geometry = image.geometry
    axes = stored_axes(job.images[0], geometry)
    flat = image.array.shape[1] == 1
    spacing = (1.0, *image.spacing[1:]) if flat else image.spacing
    maps = Maps(
        image=image.array,
        reference=None if job.reference is None else labels[job.reference],
        predictions=tuple(None if path is None else labels[path] for path in job.predictions),
        spacing=(1.0, 1.0, 1.0) if geometry.unit is None else (spacing[0], spacing[1], spacing[2]),
        letters=array_letters(axes),
        description=job.description,
        threshold=job.threshold,
    )
    return maps, geometry


def _labels(path: Path, image: Image, image_file: Path) -> NDArray[np.signedinteger[Any]]:
    """A label map along the axes of its image.

    Raises:
        UserError: It cannot be read, or has another shape.
    """
    labels = read_label(path)
    turn = turn_onto(path, labels.geometry, image_file, image.geometry)
    labels = turned(labels, turn) if turn else labels
    if labels.array.shape != image.array.shape[1:]:
        raise UserError(
            "A label map has another shape than its image.",
            file=path,
            found=f"{labels.array.shape} beside {image.array.shape[1:]} (z, y, x)",
        )
    return labels.array
