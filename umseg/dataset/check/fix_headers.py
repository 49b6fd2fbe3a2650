"""Label maps whose header disagrees with the image's: corrected copies of them."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.processes.parallel import map_cases
from umseg.common.text import counted
from umseg.dataset.dataset import Case, Dataset
from umseg.dataset.io.grid import Geometry, placement_difference, spacings_agree
from umseg.dataset.io.images import read_geometry, read_label, write_label
from umseg.dataset.io.orientation import turn_onto
from umseg.dataset.io.registry import format_of

log = logging.getLogger(__name__)


def fix_geometry(dataset: Dataset, folder: Path, workers: int = 0, quiet: bool = False) -> Dataset:
    """Copy label maps with the image's shape, but another spacing, origin or direction, and give them its header.

    Neither the voxels nor the user's files are changed. What cannot be corrected this way (another shape, an unreadable
    file) is left to the data set check.

    Args:
        dataset: The data set.
        folder: Folder for the copies, ``CASE.ext``.
        workers: Number of processes; 0 works in this process.
        quiet: Whether to hide the progress bar.

    Returns:
        The data set with the copies in place of the label maps that differ.

    Raises:
        UserError: A copy cannot be written.
    """
    names = [case.id for case in dataset.cases]
    work = partial(_with_fixed_label, folder=Path(folder).absolute())
    cases = tuple(map_cases(work, dataset.cases, names, workers=workers, title="Fix geometry", quiet=quiet))
    changed = sum(new.label != old.label for new, old in zip(cases, dataset.cases, strict=True))
    if changed:
        log.warning("Copied %s to %s with the header of their image.", counted(changed, "label map"), folder)
    return dataset.model_copy(update={"cases": cases})


def _with_fixed_label(case: Case, folder: Path) -> Case:
    if case.label is None:
        raise ValueError(f"case {case.id} has no label file")
    try:
        grid = read_geometry(case.images[0])
        if not _correctable(case.label, read_geometry(case.label), case.images[0], grid):
            return case
        values = read_label(case.label).array
    except UserError:
        return case
    if values.min() < 0:
        return case
    ending = format_of(case.label).ending_of(case.label)
    copy = folder / f"{case.id}{case.label.name[-len(ending) :]}"
    write_label(copy, values, grid)
    return case.model_copy(update={"label": copy})


def _correctable(label: Path, label_grid: Geometry, image: Path, grid: Geometry) -> bool:
    """Whether shapes are equal but headers differ. Those of pictures and TIFF stacks state no place in space."""
    if label_grid.shape != grid.shape or turn_onto(label, label_grid, image, grid):
        # A label map on the image's grid that is stored along other axes is turned when it is read.
        return False
    placed = not any(format_of(path).is_picture for path in (label, image))
    return not spacings_agree(label_grid, grid) or (placed and placement_difference(label_grid, grid) is not None)
