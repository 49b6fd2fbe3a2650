"""``umseg inspect``: training patches as the network sees them, before and after augmentation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.dataset import Dataset
from umseg.dataset.description import DatasetDescription
from umseg.planning.fingerprint import Fingerprint
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.store.case_store import CaseStore
from umseg.reports.orientation import array_letters, upright
from umseg.reports.pictures import Patch, draw_patches
from umseg.training.augmentation.warp import centre_crop
from umseg.training.data.batches import Batch, BatchFactory, Patches
from umseg.workspace import Workspace

FOLDER = "inspect"


@dataclass(frozen=True)
class _Sample:
    """One patch of a batch.

    Attributes:
        case: Id of the case.
        cut: The image (channels, *patch) and the label map (*patch) as they were cut.
        augmented: The same after augmentation.
    """

    case: str
    cut: tuple[NDArray[Any], NDArray[Any]]
    augmented: tuple[NDArray[Any], NDArray[Any]]


def inspect_training(
    workspace: Workspace, configuration_name: str | None = None, *, patches: int = 8, seed: int = 0
) -> Path:
    """Draw the first training patches of a seed.

    The picture has a row per patch: the slice with most foreground, without and with labels, of the patch as it was cut
    and of the augmented patch.

    Args:
        workspace: The workspace of a planned data set.
        configuration_name: Name of the configuration, e.g. ``3d_fullres``; None means the plan's default.
        patches: Number of patches to draw.
        seed: Seed as in ``umseg train --seed``; the patches are those of its first iterations with ``--fold all``.

    Returns:
        The PNG file, ``inspect/<configuration>.png`` in the workspace.

    Raises:
        UserError: The data set has not been planned, or a preprocessed case is damaged.
    """
    plan, description = workspace.load(Plan), workspace.load(Dataset).description
    name = configuration_name or plan.default_configuration
    configuration = plan.configuration(name, workspace.plan_file)
    store = CaseStore(workspace.preprocessed(configuration.inherits_from or name))
    factory = BatchFactory(store.folder, configuration, {"train": tuple(store.case_ids())}, seed, augmentation="gpu")
    samples: list[_Sample] = []
    batch = 0
    while len(samples) < patches:
        # A 2-D batch may have hundreds of samples; only those that are drawn are prepared.
        drawn = range(min(patches - len(samples), configuration.batch_size))
        raw = dataclasses.replace(factory, samples=drawn).prepare(0, "train", batch)
        samples += _samples(raw, factory.finish(raw), configuration)
        batch += 1
    path = workspace.folder / FOLDER / f"{name}.png"
    codes = _axis_codes(workspace)
    rows = [
        _patch(sample, description, configuration, array_letters(codes.get(sample.case), plan.transpose_forward))
        for sample in samples
    ]
    draw_patches(path, rows, label_names(description))
    return path


def label_names(description: DatasetDescription) -> dict[str, int]:
    """Names and values of preprocessed label maps, for a legend."""
    if description.has_regions:
        names = {f"label {value}": value for value in description.foreground_values}
    else:
        names = dict(description.foreground)
    return names if description.ignore_label is None else {**names, "ignore": description.ignore_label}


def _samples(raw: Patches, batch: Batch, configuration: Configuration) -> list[_Sample]:
    patch = configuration.patch_size
    return [
        _Sample(
            case=case,
            cut=(centre_crop(raw.data[i], patch).numpy(), centre_crop(raw.label[i, 0], patch).numpy()),
            augmented=(batch.data[i].numpy(), batch.targets[0][i].numpy()),
        )
        for i, case in enumerate(raw.cases)
    ]


def _axis_codes(workspace: Workspace) -> dict[str, str | None]:
    """The sides of the patient to which each case's axes point, where they are known."""
    fingerprint, orientation = workspace.load(Fingerprint), workspace.load(Dataset).orientation
    stored = fingerprint.orientations or (None,) * len(fingerprint.case_ids)
    known = zip(fingerprint.case_ids, stored, strict=True)
    return {case: None if codes is None else orientation or codes for case, codes in known}


def _patch(sample: _Sample, description: DatasetDescription, configuration: Configuration, letters: str) -> Patch:
    volume = sample.cut[1].ndim == 3
    # The slices of a 2-D configuration lie across the first axis, too.
    view = upright(letters, across=0)
    before, after = (_slice(image, label) for image, label in (sample.cut, sample.augmented))
    colour = description.num_channels == 3 and not volume
    channels = slice(0, 3) if colour else slice(0, 1)
    low, high = sample.augmented[0].min(), sample.augmented[0].max()
    number = f", slice {before[2] + 1} of the patch's {len(sample.cut[1])}" if volume else ""
    height, width = view.size((configuration.spacing[-2], configuration.spacing[-1]))
    return Patch(
        title=f"{sample.case}{number}\nvalues {low:.2g} to {high:.2g}",
        before=(view(np.moveaxis(before[0][channels], 0, -1)), view(before[1])),
        after=(view(np.moveaxis(after[0][channels], 0, -1)), view(after[1])),
        edges=view.edges,
        pixel=height / width,
    )


def _slice(image: NDArray[Any], label: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], int]:
    """(channels, y, x), (y, x) and its number: the slice of a 3-D patch along axis 0 that shows most foreground."""
    if label.ndim == 2:
        return image, label, 0
    foreground = (label > 0).sum(axis=(1, 2))
    # A patch without foreground shows its middle slice.
    index = int(foreground.argmax()) if foreground.any() else len(label) // 2
    return image[:, index], label[index], index
