"""``umseg plan``: fill a data set's workspace."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import remove_leftovers
from umseg.dataset.check.fix_headers import fix_geometry as with_fixed_geometry
from umseg.dataset.check.problems import Problem
from umseg.dataset.check.report import report_problems
from umseg.dataset.dataset import Dataset, survey_dataset
from umseg.models.card import load_card
from umseg.models.measured_memory import MemoryMeter
from umseg.planning import Fingerprint, Overrides, Plan, extract_fingerprint, make_plan
from umseg.planning.planner import check_rules
from umseg.planning.transfer import transfer_plan
from umseg.preprocess import CaseStore, Origin, StoreDtype, case_origins, most_bytes, preprocess_dataset
from umseg.training.data.splits import Splits, make_splits, read_splits
from umseg.workspace import Workspace

log = logging.getLogger(__name__)

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
    fix_geometry: bool = False,
    store_dtype: StoreDtype = "float32",
    workers: int = 0,
    quiet: bool = False,
) -> tuple[Workspace, Fingerprint, Plan]:
    """Check and measure a data set, decide how to train on it, and preprocess it.

    A run that was interrupted, even killed, continues where it stopped: what was finished is not done again.

    Args:
        dataset_folder: A data set in nnU-Net v2's raw format.
        root: Where workspaces are kept.
        preset: The planner's rules.
        memory_gb: GPU memory to plan for; the preset's own if None.
        for_model: Plan so that this model's expected training memory fits.
        like: Model folder whose plan is taken over, instead of making one, so that its weights fit (fine-tuning).
        overrides: Spacing, patch and batch size that the user fixed.
        configurations: Which to preprocess; None means all that the plan has.
        splits: File of the folds to use (``read_splits``) instead of random ones.
        fix_geometry: Use copies of label maps under their image's header, where spacing, origin or direction differ.
        store_dtype: How preprocessed images are stored; half precision takes half the space.
        workers: Processes for per-case work; 0 works in this one.
        quiet: No progress bars.

    Raises:
        UserError: Something is wrong with the data; nothing but the table of all problems (``problems.csv``) and
            fixed label maps is written before the whole data set has been checked.
    """
    check_rules(preset, memory_gb, for_model)
    chosen_rules = (preset, memory_gb, for_model, overrides or Overrides())
    if like is not None and chosen_rules != ("default", None, None, Overrides()):
        raise UserError(
            "--like takes over a plan as it is: nothing in it can be chosen.",
            found="--preset, --memory-gb, --for-model, --spacing, --patch-size or --batch-size beside --like",
            remedy="Leave the other options out, or plan without --like.",
        )
    # What was asked for is looked at before the images, which take long.
    other_plan = None if like is None else load_card(like).plan
    _check_names(configurations or [], CONFIGURATIONS if other_plan is None else other_plan.configurations)
    dataset, structural = survey_dataset(dataset_folder)
    given_splits = None if splits is None else read_splits(splits, [case.id for case in dataset.cases])
    workspace = Workspace.to_be(Path(dataset.name), root)
    if fix_geometry:
        fixed = workspace.fixed_labels
        remove_leftovers(fixed)
        dataset = with_fixed_geometry(dataset, fixed, workers=workers, quiet=quiet)

    def report(problems: Sequence[Problem]) -> None:
        report_problems([*structural, *problems], dataset.folder, workspace.problems_file)

    # What is missing or in excess is no part of the hash: then everything is looked at, and reported together.
    earlier = None if structural else _earlier_fingerprint(workspace)
    fingerprint = extract_fingerprint(dataset, workers=workers, quiet=quiet, report=report, earlier=earlier)
    if like is None or other_plan is None:
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
        plan = transfer_plan(other_plan, fingerprint, dataset.description, like)
    # A configuration that inherits uses the images of another one.
    chosen = {plan.configuration(name).inherits_from or name for name in configurations or plan.configurations}

    origins = {
        name: case_origins(dataset, fingerprint.case_digests, plan, configuration)
        for name, configuration in plan.configurations.items()
    }
    _remove_stale(workspace, origins, chosen, store_dtype)
    _warn_of_small_disk(workspace, fingerprint, plan, chosen, store_dtype)
    dataset.save(workspace.file(Dataset))
    fingerprint.save(workspace.file(Fingerprint))
    plan.save(workspace.file(Plan))
    _keep_or_make_splits(workspace, [case.id for case in dataset.cases], given_splits)
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


def _check_names(names: Sequence[str], known: Collection[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"Unknown configuration '{unknown[0]}'.",
            found=unknown[0],
            expected=" or ".join(known),
            remedy="Choose one of the configurations with --config.",
        )


def _earlier_fingerprint(workspace: Workspace) -> Fingerprint | None:
    try:
        return workspace.load(Fingerprint)
    except UserError:
        # None yet; or of another version, or damaged: it is made anew.
        return None


def _remove_stale(
    workspace: Workspace, origins: Mapping[str, Mapping[str, Origin]], chosen: Collection[str], dtype: StoreDtype
) -> None:
    """Images made otherwise, or of other data, must never lie beside the new plan: it is written only after this.

    Args:
        workspace: Of the data set.
        origins: What each configuration's cases have to be made from.
        chosen: The configurations that are preprocessed next.
        dtype: How their images are to be stored.
    """
    remove_leftovers(workspace.folder)
    for folder in sorted(path for path in workspace.stores.glob("*") if path.is_dir()):
        stale = CaseStore(folder).prune(origins.get(folder.name, {}), dtype if folder.name in chosen else None)
        if stale and folder.name in chosen:
            log.info("%s: %d cases no longer fit the data or the plan and are made anew", folder.name, len(stale))
        elif stale:
            log.warning("%s: %d cases no longer fit the data or the plan and are removed", folder, len(stale))
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
            "the disk may be too small: preprocessed images may take up to %.2f GB, and %.2f GB are free at %s",
            needed / 1e9,
            free / 1e9,
            workspace.folder,
        )


def _keep_or_make_splits(workspace: Workspace, case_ids: Sequence[str], given: Splits | None) -> None:
    """Splits that the user edited, or that trained folds rely on, stay as long as they name only existing cases."""
    path = workspace.file(Splits)
    if given is not None:
        given.save(path)
        return
    if path.exists():
        there = workspace.load(Splits)
        named = {case for split in there.folds for case in (*split.train, *split.validation)}
        if named <= set(case_ids):
            log.info("keeping %s", path)
            return
        log.warning("%s names cases that are gone: it is made anew", path)
    make_splits(case_ids).save(path)
