"""``umseg plan``: from a data set to a workspace that is ready for training."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import remove_leftovers
from umseg.common.processes.claims import claim
from umseg.common.record import Record
from umseg.common.registry import unknown_name
from umseg.common.text import counted
from umseg.dataset.check.fix_headers import fix_geometry as with_fixed_geometry
from umseg.dataset.check.problems import Problem
from umseg.dataset.check.report import report_problems
from umseg.dataset.dataset import Dataset, survey_dataset
from umseg.dataset.io.orientation import common_axes, count_axes, parse_axes
from umseg.models.card import load_card
from umseg.models.measured_memory import MemoryMeter
from umseg.planning import Fingerprint, Overrides, Plan, extract_fingerprint, make_plan
from umseg.planning.planner import check_rules
from umseg.planning.sights import CaseSight
from umseg.planning.transfer import transfer_plan
from umseg.preprocess import CaseStore, Origin, StoreDtype, case_origins, most_bytes, preprocess_dataset
from umseg.preprocess.too_large import too_large_cases
from umseg.training.data.splits import read_splits
from umseg.workflows.plan_notices import protect_models, warn_of_findings
from umseg.workflows.report_data import has_data_page, write_data_page
from umseg.workflows.settle_folds import find_groups, save_groups, settle_folds
from umseg.workspace import Workspace

log = logging.getLogger(__name__)

LONGEST_WAIT = 24 * 3600.0
"""Seconds for which a plan waits while another process plans the same data set."""
IMAGE_FOLDERS = ("imagesTr", "labelsTr", "imagesTs", "labelsTs")
CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")


def plan_dataset(
    dataset_folder: Path,
    root: Path,
    *,
    preset: str = "default",
    memory_gb: float | None = None,
    for_model: str | None = None,
    like: Path | None = None,
    overrides: Overrides | None = None,
    configurations: Sequence[str] | None = None,
    splits: Path | None = None,
    groups: Path | None = None,
    fix_geometry: bool = False,
    reorient: str | None = None,
    store_dtype: StoreDtype = "float32",
    workers: int = 0,
    quiet: bool = False,
) -> tuple[Workspace, Fingerprint, Plan]:
    """Check and measure a data set, decide how to train on it, and preprocess it.

    A run that was interrupted, even killed, resumes where it stopped: finished work is not repeated. While another
    process plans the same data set, this one waits.

    Args:
        dataset_folder: A data set in nnU-Net v2's raw format.
        root: Folder of the workspaces.
        preset: A name in ``PRESETS``, which chooses the planner's rules.
        memory_gb: GPU memory in GB to plan for; None means the preset's.
        for_model: Model whose expected training memory has to fit; None means the published estimate.
        like: Model folder whose plan is reused, so that its weights fit (fine-tuning).
        overrides: Spacing, patch and batch size that the user fixed.
        configurations: Configurations to preprocess; None means all of the plan.
        splits: File of the folds (``read_splits``); None means the earlier folds, with cases that are new, or random
            ones.
        groups: Table of cases that belong together (``read_groups``); None means that of an earlier plan, or
            ``groups.csv`` of the data set, if there is one.
        fix_geometry: Whether copies of the label maps with their image's header are used where spacing, origin or
            direction differ.
        reorient: Axis codes, e.g. ``RAS``, to which every image and label map is turned when it is read; None leaves
            them as they are stored, unless ``like`` names a model whose images were alike: then they are turned as
            those were.
        store_dtype: Number format of preprocessed images; half precision takes half the disk space.
        workers: Number of processes for per-case work; 0 means that this process does it.
        quiet: Whether progress bars are hidden.

    Returns:
        The workspace, the measurements and the plan.

    Raises:
        UserError: Something is wrong with the data. Before the whole data set has been checked, only the table of all
            problems (``problems.csv``) and fixed label maps are written. The workspace belongs to another data set,
            or is in use for too long.
    """
    check_rules(preset, memory_gb, for_model)
    chosen_rules = (preset, memory_gb, for_model, overrides or Overrides())
    if like is not None and chosen_rules != ("default", None, None, Overrides()):
        raise UserError(
            "--like reuses a plan without changes, so that no planning option can be given beside it.",
            found="--preset, --memory-gb, --for-model, --spacing, --patch-size or --batch-size",
            remedy="Leave the other options out, or plan without --like.",
        )
    # The options are checked before the images, which take long.
    other = None if like is None else load_card(like)
    axes = parse_axes(reorient) if reorient is not None else other.orientation if other is not None else None
    _check_names(configurations or [], CONFIGURATIONS if other is None else other.plan.configurations)
    dataset, structural = survey_dataset(dataset_folder)
    given_splits = None if splits is None else read_splits(splits, [case.id for case in dataset.cases])
    dataset = dataset.model_copy(update={"orientation": axes})
    workspace = _place(dataset, root)
    with (
        claim(workspace.folder, "plans this data set", wait=LONGEST_WAIT),
        _kept_if_killed(workspace.measured) as kept,
    ):
        _tell_moved(workspace, dataset.folder)
        # Options are checked before the images, which take long, unless files are missing: all of that is told later.
        faulty = any(problem.severity == "error" for problem in structural)
        case_groups = {} if faulty else find_groups(workspace, dataset, groups)
        if fix_geometry:
            fixed = workspace.fixed_labels
            remove_leftovers(fixed)
            dataset = with_fixed_geometry(dataset, fixed, workers=workers, quiet=quiet)

        known = list(structural)

        def report(problems: Sequence[Problem]) -> None:
            known.extend(problems)
            report_problems(known, dataset.folder, workspace.problems_file)

        # The hash does not cover missing or surplus files; with such problems all is checked and reported together.
        earlier = None if faulty else _earlier_fingerprint(workspace)
        sights: list[CaseSight] = []
        fingerprint = extract_fingerprint(
            dataset, workers=workers, quiet=quiet, report=report, earlier=earlier, kept=kept, see=sights.extend
        )
        if sights:
            # Before all that takes long, so that wrong data are seen early.
            write_data_page(workspace, dataset, fingerprint, sights)
        dataset = _oriented(dataset, fingerprint.orientations, axes)
        if like is None or other is None:
            plan = make_plan(
                fingerprint,
                dataset.description,
                preset,
                memory_gb,
                for_model=for_model,
                overrides=overrides,
                measure=MemoryMeter(workspace.memory_file),
            )
        else:
            plan = transfer_plan(other.plan, fingerprint, dataset.description, like)
        # A configuration that inherits uses the images of another one.
        chosen = {plan.configuration(name).inherits_from or name for name in configurations or plan.configurations}
        folds = settle_folds(workspace, list(fingerprint.case_ids), case_groups, given_splits)
        warn_of_findings(fingerprint, dataset.description, folds)
        protect_models(workspace, plan, fingerprint, dataset)

        origins = {
            name: case_origins(dataset, fingerprint.case_digests, plan, configuration, fingerprint.orientations)
            for name, configuration in plan.configurations.items()
        }
        if too_large := too_large_cases(fingerprint, plan, chosen):
            # The measurements stay for the next run, e.g. with a coarser --spacing.
            fingerprint.save(workspace.file(Fingerprint))
            images = {case.id: case.images[0] for case in dataset.cases}
            report([Problem.from_error(case_id, images[case_id], error) for case_id, error in too_large.items()])
        _remove_stale(workspace, origins, chosen, store_dtype)
        _warn_of_small_disk(workspace, fingerprint, plan, chosen, store_dtype)
        _write(workspace, (dataset, fingerprint, plan, folds), case_groups if groups is not None else None)
        preprocess_dataset(
            dataset,
            plan,
            {name: workspace.preprocessed(name) for name in plan.configurations if name in chosen},
            origins,
            workers=workers,
            quiet=quiet,
            dtype=store_dtype,
        )
    return workspace, fingerprint, plan


@contextlib.contextmanager
def _kept_if_killed(folder: Path) -> Iterator[Path]:
    """Remove a folder at the end of the block, also after an error in the data; only an interruption leaves it."""
    try:
        yield folder
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _tell_moved(workspace: Workspace, dataset: Path) -> None:
    """Say that the workspace goes with a data set that has moved.

    Raises:
        UserError: The workspace belongs to another data set.
    """
    moved_from = workspace.moved_from(dataset)
    if moved_from is not None:
        log.warning("The data set has moved from %s to %s; its workspace goes with it.", moved_from, dataset)


def _write(workspace: Workspace, records: Sequence[Record], groups: Mapping[str, str] | None) -> None:
    for record in records:
        _keep(record, workspace.file(type(record)))
    if groups is not None:
        save_groups(workspace, groups)


def _keep(record: Record, path: Path) -> None:
    """Write a record, unless the file has the same content: a complete workspace may be read-only."""
    text = record.to_json()
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    record.save(path)


def _place(dataset: Dataset, root: Path) -> Workspace:
    """The workspace of a data set, which is kept off files, data sets and their folders of images.

    Another folder inside a data set is a fine place: ``umseg plan .`` works there.

    Raises:
        UserError: The workspace would lie in one of those places.
    """
    workspace = Workspace.to_be(Path(dataset.name), root)
    folder = workspace.folder
    taken = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not taken.is_dir():
        raise UserError(
            "The workspace cannot be made, because there is a file in its place.",
            file=taken,
            expected="a folder",
            remedy="Choose another folder with --workspace.",
        )
    place, own = folder.resolve(), dataset.folder.resolve()
    images = any(own / name in place.parents for name in IMAGE_FOLDERS)
    if place == own or images or any((folder / name).is_dir() for name in IMAGE_FOLDERS):
        raise UserError(
            "The workspace would lie in a data set, whose files it would replace.",
            file=folder,
            expected="a folder beside the data sets",
            remedy="Choose another folder with --workspace.",
        )
    return workspace


def _oriented(dataset: Dataset, stored: Sequence[str | None], axes: str | None) -> Dataset:
    """The data set with the orientation in which it is used; says which images are turned, or that they differ.

    Args:
        dataset: The data set.
        stored: Orientation in which each image is stored.
        axes: Orientation that the user, or the model of --like, asks for.
    """
    counts = count_axes(stored)
    listed = ", ".join(f"{number} {codes}" for codes, number in counts)
    if axes is not None and not counts:
        log.warning("The images state no place in space: none of them is turned to %s.", axes)
    elif axes is not None and counts != [(axes, len(stored))]:
        log.info("Images and label maps are turned to %s when they are read. They are stored as: %s.", axes, listed)
    elif len(counts) > 1 and axes is None:
        log.warning(
            "Images are stored in different orientations, and the network will see them as they are stored: %s. "
            "`umseg plan --reorient %s` turns every image when it is read.",
            listed,
            counts[0][0],
        )
    return dataset.model_copy(update={"orientation": axes or common_axes(stored)})


def _check_names(names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown_name("configuration", name, known, "--config")


def _earlier_fingerprint(workspace: Workspace) -> Fingerprint | None:
    try:
        fingerprint = workspace.load(Fingerprint)
    except UserError:
        # A fingerprint that is missing, damaged or of another version is measured again.
        return None
    # The page needs more than the fingerprint holds.
    return fingerprint if has_data_page(workspace, fingerprint) else None


def _remove_stale(
    workspace: Workspace, origins: Mapping[str, Mapping[str, Origin]], chosen: Collection[str], dtype: StoreDtype
) -> None:
    """Remove preprocessed cases that do not belong to the new plan, which is written only after this.

    Args:
        workspace: The data set's workspace.
        origins: The expected origin of every case, by configuration.
        chosen: The configurations that are preprocessed next.
        dtype: Number format of their images.
    """
    remove_leftovers(workspace.folder)
    for folder in sorted(path for path in workspace.stores.glob("*") if path.is_dir()):
        stale = CaseStore(folder).prune(origins.get(folder.name, {}), dtype if folder.name in chosen else None)
        cases = counted(len(stale), "case")
        if stale and folder.name in chosen:
            log.info("%s: preprocessing %s again, as the data or the plan have changed.", folder.name, cases)
        elif stale:
            log.warning("%s: removed %s, as the data or the plan have changed.", folder, cases)
        if folder.name not in chosen and not any(folder.iterdir()):
            folder.rmdir()


def _warn_of_small_disk(
    workspace: Workspace, fingerprint: Fingerprint, plan: Plan, chosen: Collection[str], dtype: StoreDtype
) -> None:
    needed = 0
    for name in chosen:
        store = CaseStore(workspace.preprocessed(name))
        done = store.case_ids() if store.folder.is_dir() else ()
        needed += most_bytes(fingerprint, plan, plan.configuration(name), dtype, set(done))
    free = shutil.disk_usage(next(path for path in workspace.folder.parents if path.exists())).free
    if needed > free:
        log.warning(
            "The disk may be too small: preprocessed images may take up to %.2f GB, and %.2f GB are free at %s.",
            needed / 1e9,
            free / 1e9,
            workspace.folder,
        )
