"""Disk space that preprocessed cases take."""

from __future__ import annotations

import math
from collections.abc import Container

import numpy as np

from umseg.planning.fingerprint import Fingerprint
from umseg.planning.plan import Configuration, Plan
from umseg.planning.rules.spacing import permute, resampled_shape
from umseg.preprocess.foresight import full_spacing
from umseg.preprocess.store.case_store import StoreDtype


def most_bytes(
    fingerprint: Fingerprint,
    plan: Plan,
    configuration: Configuration,
    dtype: StoreDtype,
    done: Container[str] = (),
) -> int:
    """Upper bound of the bytes that the cases of a configuration take: uncompressed, a byte per voxel for the label.

    Args:
        fingerprint: Fingerprint with the spacing and shape of every case.
        plan: Plan that gives the axis order.
        configuration: Configuration that gives the target spacing and the number of channels.
        dtype: Type in which images are stored.
        done: Cases that are already stored and left out.
    """
    voxels = 0
    for case_id, spacing, shape in zip(
        fingerprint.case_ids, fingerprint.spacings, fingerprint.shapes_after_crop, strict=True
    ):
        if case_id not in done:
            old = permute(spacing, plan.transpose_forward)
            depth, height, width = (shape[axis] for axis in plan.transpose_forward)
            voxels += math.prod(resampled_shape(old, (depth, height, width), full_spacing(configuration, old)))
    return voxels * (len(configuration.normalization_schemes) * np.dtype(dtype).itemsize + 1)
