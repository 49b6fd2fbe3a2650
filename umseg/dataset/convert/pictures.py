"""Writing PNG and TIFF images without loss, in the smallest type that holds the values."""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.files import atomic_path


def smallest_type(values: NDArray[np.float32]) -> type[np.uint8 | np.uint16 | np.float32]:
    """Unsigned 8 or 16 bits, as PNG needs, if they hold all values; otherwise single precision."""
    low, high = float(values.min()), float(values.max())
    # Comparisons with NaN are false.
    if not (low >= 0 and high <= np.iinfo(np.uint16).max and np.array_equal(values, np.rint(values))):
        return np.float32
    return np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16


def save_picture(path: Path, array: NDArray[Any]) -> None:
    """Write (channels, y, x) with all channels in one file, whole or not at all.

    Raises:
        UserError: The file cannot be written.
    """
    single = len(array) == 1
    image = sitk.GetImageFromArray(array[0] if single else np.moveaxis(array, 0, -1), isVector=not single)
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise UserError(
                "The picture cannot be written.",
                file=path,
                found=str(error).strip().splitlines()[-1],
                remedy="Check that the disk is not full.",
            ) from error
