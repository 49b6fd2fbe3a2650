"""Small DICOM series, made for a test, with a patient whose name must appear nowhere."""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from umseg.dataset.io.formats.lazy_sitk import same_locale

PATIENT = ("SECRETNAME^ANNA", "SECRETID-77", "19010203")
AXES = np.eye(3)


def write_series(
    folder: Path,
    values: NDArray[np.integer],
    spacing: tuple[float, float, float] = (0.5, 0.75, 2.0),
    origin: Sequence[float] = (10.0, -20.0, 30.0),
    axes: NDArray[np.float64] = AXES,
    positions: Sequence[Sequence[float]] | None = None,
    tags: Mapping[str, str] = {},
    uid: str = "1.2.826.0.1.5",
    compressor: str = "",
    first: int = 0,
) -> list[Path]:
    """Write one file per slice.

    Args:
        folder: For the files, in the reverse order of the slices, so that names do not tell the order.
        values: (z, y, x).
        spacing: mm (x, y, z).
        origin: Of the first slice.
        axes: Columns: the directions of x, y and z.
        positions: Of the slices, instead of origin plus steps along z.
        tags: Further DICOM tags; an empty value leaves the tag out.
        uid: Of the series.
        compressor: ``JPEG2000`` or another of SimpleITK's names.
        first: Number of the first file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    if compressor:
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
    paths = []
    for number, plane in enumerate(values):
        place = np.asarray(origin) + number * spacing[2] * axes[:, 2] if positions is None else positions[number]
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing(spacing)
        fields = {
            "0008|0060": "CT",
            "0008|103e": "thorax",
            "0008|0018": f"{uid}.{first + number + 1}",
            "0020|000d": "1.2.826.0.1.4",
            "0020|000e": uid,
            "0010|0010": PATIENT[0],
            "0010|0020": PATIENT[1],
            "0010|0030": PATIENT[2],
            "0018|0050": str(spacing[2]),
            "0020|0032": "\\".join(f"{value:.6f}" for value in place),
            "0020|0037": "\\".join(f"{value:.9f}" for value in axes[:, :2].T.ravel()),
            **tags,
        }
        for tag, text in fields.items():
            if text:
                image.SetMetaData(tag, text)
        paths.append(folder / f"IM{first + len(values) - number:04d}.dcm")
        writer.SetFileName(str(paths[-1]))
        with same_locale():
            writer.Execute(image)
    return paths
