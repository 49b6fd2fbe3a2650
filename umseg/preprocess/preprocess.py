"""Preprocessing: from an image as it was recorded to an image as the network sees it (docs/rules.md)."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.memory import keep_freed_memory
from umseg.common.processes.parallel import map_cases
from umseg.common.text import counted
from umseg.dataset.crop import box_slices, nonzero_box, nonzero_region
from umseg.dataset.dataset import Case, Dataset
from umseg.dataset.instances import instance_classes
from umseg.dataset.io.images import Image
from umseg.dataset.training_case import read_training_case
from umseg.planning.plan import Configuration, Plan
from umseg.planning.rules.normalizations import by_voxel
from umseg.planning.rules.spacing import permute
from umseg.preprocess.case import PreprocessedCase
from umseg.preprocess.channel import is_result, prepare_channel
from umseg.preprocess.foresight import full_spacing, properties_of
from umseg.preprocess.locations import location_classes, sample_class_locations
from umseg.preprocess.memory import require_resampling_memory
from umseg.preprocess.resampling.resample import resample_label
from umseg.preprocess.resampling.resampler import Resampler
from umseg.preprocess.store.case_store import CaseStore, StoreDtype
from umseg.preprocess.store.provenance import Origin

log = logging.getLogger(__name__)

IMAGE_ORDER = 3
# A larger image is read again for each configuration.
_MOST_KEPT_BYTES = 2**29


def preprocess_case(
    images: NDArray[Any],
    spacing: tuple[float, float, float],
    plan: Plan,
    configuration: Configuration | str,
    label: NDArray[np.integer[Any]] | None = None,
    classes: Mapping[int, Collection[int]] | None = None,
    *,
    overwrite: bool = False,
) -> PreprocessedCase:
    """Transpose, crop to the nonzero region, normalise and resample one case, in this order.

    Args:
        images: (channels, z, y, x) as read from the files, of any type of real numbers.
        spacing: mm per voxel along z, y, x.
        plan: Plan that gives the axis order and the intensity statistics.
        configuration: A configuration of the plan, or its name. A 2-D one does not change the first axis.
        label: (z, y, x) label map for training; None for prediction.
        classes: Classes to draw locations for (``location_classes``); None: the values > 0 that occur in ``label``.
        overwrite: Whether the memory of ``images`` may be used, whose values are then lost.

    Returns:
        The case in the plan's axis order.

    Raises:
        UserError: The image and the plan differ in the number of channels, the values do not fit the normalisation, or
            the resampled image does not fit into memory.
        ValueError: ``label`` and the image differ in shape.
    """
    if isinstance(configuration, str):
        configuration = plan.configuration(configuration)
    schemes = configuration.normalization_schemes
    if images.shape[0] != len(schemes):
        raise UserError(
            "The image and the plan have different numbers of channels.",
            found=counted(images.shape[0], "channel"),
            expected=counted(len(schemes), "channel"),
            remedy="Give one file for every channel in dataset.json: CASE_0000, CASE_0001, ...",
        )
    if label is not None and label.shape != images.shape[1:]:
        raise ValueError(f"the label map has the shape {label.shape}, the image {images.shape[1:]}")

    order = plan.transpose_forward
    images = images.transpose(0, *(axis + 1 for axis in order))
    old_spacing = permute(spacing, order)
    target_spacing = full_spacing(configuration, old_spacing)
    masked = [use and not by_voxel(name) for use, name in zip(configuration.use_mask_for_norm, schemes, strict=True)]
    # The mask of a large image takes longer than all else that finds the box.
    box, mask = (nonzero_box(images), None) if label is None and not any(masked) else nonzero_region(images)
    depth, height, width = box_slices(box)
    cropped = images[:, depth, height, width]
    properties = properties_of(images.shape[1:], box, old_spacing, configuration)
    cropped_shape, shape = properties.shape_after_cropping, properties.shape_after_resampling
    require_resampling_memory(cropped_shape, shape, old_spacing, target_spacing, len(schemes))
    inside, marked = mask, None
    if label is not None and mask is not None:
        marked = _mark_outside(label.transpose(order)[depth, height, width], mask)
        inside = marked >= 0
    in_place = overwrite and is_result(cropped, shape)
    data = cropped if in_place else np.empty((len(schemes), *shape), dtype=np.float32)
    # One channel at a time, so that no normalised copy of all channels is held.
    resampler = Resampler(cropped_shape, shape, old_spacing, target_spacing, IMAGE_ORDER)
    for number, scheme in enumerate(schemes):
        prepare_channel(
            cropped[number],
            data[number],
            resampler,
            scheme,
            statistics=plan.foreground_intensity_properties_per_channel.get(str(number)),
            mask=inside if masked[number] else None,
            overwrite=overwrite,
        )

    if marked is None:
        return PreprocessedCase(data, None, {}, properties)
    resampled = resample_label(marked, shape, old_spacing, target_spacing)
    return PreprocessedCase(data, resampled, sample_class_locations(resampled, classes), properties)


def preprocess_dataset(
    dataset: Dataset,
    plan: Plan,
    folders: Mapping[str, Path],
    origins: Mapping[str, Mapping[str, Origin]],
    workers: int = 0,
    quiet: bool = False,
    *,
    dtype: StoreDtype = "float32",
) -> dict[str, CaseStore]:
    """Preprocess every case of a data set.

    A case that is already in its store stays if it is undamaged and was made from the same files in the same way; other
    files of cases in the folders are removed.

    Args:
        dataset: Data set whose cases have labels.
        plan: The data set's plan.
        folders: Configuration (``2d``, ``3d_fullres`` or ``3d_lowres``) to the folder of its store, which is created if
            necessary.
        origins: Configuration to the origin that every case must have (``case_origins``).
        workers: Number of worker processes; 0 works in this one.
        quiet: Whether to show no progress bar.
        dtype: Type in which images are stored.

    Returns:
        The stores of the preprocessed cases.

    Raises:
        UserError: An image cannot be read or does not fit the plan, or the disk is full.
    """
    stores = {name: CaseStore(folder) for name, folder in folders.items()}
    to_do: dict[str, dict[str, Origin]] = {case.id: {} for case in dataset.cases}
    for name, store in stores.items():
        required = origins[name]
        stored = set(store.keep(required, dtype, quiet))
        if stored:
            log.info(_stored_message(name, len(stored), len(required)))
        for case_id in required.keys() - stored:
            to_do[case_id][name] = required[case_id]
    jobs = [_Job(case, to_do[case.id]) for case in dataset.cases if to_do[case.id]]
    work = partial(
        _preprocess_and_store,
        plan=plan,
        axes=dataset.orientation,
        classes=location_classes(dataset.description),
        stores=stores,
        dtype=dtype,
    )
    ids = [job.case.id for job in jobs]
    title = f"Preprocessing {', '.join(folders)}"
    for _ in map_cases(work, jobs, ids, workers=workers if jobs else 0, title=title, quiet=quiet):
        pass
    return stores


def _stored_message(configuration: str, stored: int, required: int) -> str:
    if stored == required:
        whole = "the only case is" if required == 1 else f"all {required:,} cases are"
        return f"{configuration}: {whole} already preprocessed."
    cases = f"{stored:,} of {counted(required, 'case')}"
    return f"{configuration}: {cases} are already preprocessed; preprocessing {required - stored:,}."


@dataclass(frozen=True)
class _Job:
    """A case and its origin for each configuration for which it must be preprocessed."""

    case: Case
    origins: dict[str, Origin]


def _preprocess_and_store(
    job: _Job,
    *,
    plan: Plan,
    axes: str | None,
    classes: Mapping[int, Collection[int]],
    stores: Mapping[str, CaseStore],
    dtype: StoreDtype,
) -> None:
    if multiprocessing.parent_process() is not None:
        # This process only preprocesses one case after another.
        keep_freed_memory()
    kept, last = None, list(job.origins)[-1]
    for name, origin in job.origins.items():
        configuration = plan.configuration(name)
        image, label = kept or _read(job.case, plan, axes, len(configuration.normalization_schemes))
        keep = image.array.nbytes <= _MOST_KEPT_BYTES and name != last
        try:
            preprocessed = preprocess_case(
                image.array, image.spacing, plan, configuration, label, classes, overwrite=not keep
            )
        except UserError as error:
            raise error.at(job.case.images[0]) from error
        kept = (image, label) if keep else None
        # Large images are freed before the compressed ones need memory.
        del image, label
        stores[name].write(job.case.id, preprocessed, origin, configuration.patch_size, dtype)
        del preprocessed


def _read(case: Case, plan: Plan, axes: str | None, channels: int) -> tuple[Image, NDArray[np.integer[Any]]]:
    found = read_training_case(case, channels, axes)
    label: NDArray[np.integer[Any]] = found.label.array
    if plan.boundary_width is not None:
        label = instance_classes(label, plan.boundary_width)
    return found.image, label


def _mark_outside(label: NDArray[np.integer[Any]], mask: NDArray[np.bool_]) -> NDArray[np.integer[Any]]:
    """The label map with -1 where the image is zero and the label is background, as nothing can be learned there."""
    marked = label.astype(np.int16 if label.max() > np.iinfo(np.int8).max else np.int8)
    marked[(marked == 0) & ~mask] = -1
    return marked
