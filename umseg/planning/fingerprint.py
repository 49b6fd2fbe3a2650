"""``fingerprint.json``: what planning needs to know of the images."""

from __future__ import annotations

from typing import Literal

from umseg.common.record import Record

Triple = tuple[float, float, float]


class IntensityStatistics(Record):
    """Foreground intensities of one channel over the whole data set."""

    mean: float
    median: float
    std: float
    min: float
    max: float
    percentile_00_5: float
    percentile_99_5: float


class Fingerprint(Record):
    """What planning needs to know of a data set, under nnU-Net's field names.

    Attributes:
        dataset_name: Folder name of the data set.
        spacings: (z, y, x) in mm per case.
        shapes_after_crop: (z, y, x) in voxels per case, after cropping to the nonzero region.
        foreground_intensity_properties_per_channel: Channel index as string to statistics.
        median_relative_size_after_cropping: Median over the cases of voxels after by voxels before cropping.
        case_ids: In the order of ``spacings`` and ``shapes_after_crop``.
    """

    schema_version: Literal[1] = 1
    dataset_name: str
    spacings: tuple[Triple, ...]
    shapes_after_crop: tuple[tuple[int, int, int], ...]
    foreground_intensity_properties_per_channel: dict[str, IntensityStatistics]
    median_relative_size_after_cropping: float
    case_ids: tuple[str, ...]
