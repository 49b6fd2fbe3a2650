"""One channel of a cropped image, normalised and resampled in as little memory as its normalisation allows."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.planning.intensity import IntensityStatistics
from umseg.planning.rules.normalizations import by_voxel
from umseg.preprocess.normalize import Mask, normalize
from umseg.preprocess.resampling.resample import resample_volume
from umseg.preprocess.resampling.resampler import Resampler, Shape
from umseg.preprocess.resampling.slices import resample_made


def is_result(cropped: NDArray[Any], shape: Shape) -> bool:
    """Whether the memory of an image (channels, z, y, x) can hold the preprocessed one, of this shape."""
    flags = cropped.flags
    return cropped.dtype == np.float32 and cropped.shape[1:] == shape and flags.c_contiguous and flags.writeable


def prepare_channel(
    stored: NDArray[Any],
    out: NDArray[np.float32],
    resampler: Resampler,
    scheme: str,
    *,
    statistics: IntensityStatistics | None = None,
    mask: Mask | None = None,
    overwrite: bool = False,
) -> None:
    """Normalise and resample one channel.

    Where voxels are normalised one by one, they are so slab by slab: a float32 copy of the channel is never held.

    Args:
        stored: (z, y, x) of the type in which the file stores it; or ``out`` itself.
        out: (z, y, x) array for the result.
        resampler: Resampler from the one shape to the other.
        scheme: Name of the normalisation.
        statistics: Foreground intensities of this channel over the data set.
        mask: (z, y, x), true where the image is not zero, if the plan masks this channel.
        overwrite: Whether the memory of ``stored`` may be used, whose values are then lost.

    Raises:
        UserError: The scheme is unknown, needs statistics that are missing, or the values do not fit it.
    """
    if stored.shape == out.shape:
        if not np.may_share_memory(out, stored):
            out[...] = stored
        normalize(out, scheme, mask=mask, statistics=statistics, overwrite=True)
    elif by_voxel(scheme):
        resample_made(stored, partial(normalize, scheme=scheme, statistics=statistics, overwrite=True), resampler, out)
    else:
        channel = np.ascontiguousarray(stored, dtype=np.float32)
        unshared = not np.may_share_memory(channel, stored)
        channel = normalize(channel, scheme, mask=mask, statistics=statistics, overwrite=overwrite or unshared)
        resample_volume(channel, out, resampler)
