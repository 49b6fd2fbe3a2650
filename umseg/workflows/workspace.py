"""A data set's workspace: where its files are, and ``umseg plan``, which fills it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.record import RecordT
from umseg.dataset.dataset import Dataset, survey_dataset
from umseg.dataset.geometry import fix_geometry as with_fixed_geometry
from umseg.dataset.problems import Problem
from umseg.dataset.report import report_problems
from umseg.planning import Fingerprint, Overrides, Plan, extract_fingerprint, make_plan
from umseg.preprocess import preprocess_dataset
from umseg.training.splits import Splits, make_splits

log = logging.getLogger(__name__)

DEFAULT_ROOT = Path("umseg-workspace")
PLAN_REMEDY = "Run `umseg plan DATASET` first, or give the --workspace that it wrote to."


@dataclass(frozen=True)
class Workspace:
    """Everything that belongs to one data set, ``W/<DatasetName>``.

    Attributes:
        folder: The workspace of this data set.
    """

    folder: Path

    @classmethod
    def of(cls, dataset: str, root: Path) -> Workspace:
        """The workspace of a data set given by its name or the path of its folder.

        Raises:
            UserError: Nothing has been planned for it.
        """
        workspace = cls(Path(root).absolute() / Path(dataset).absolute().name)
        if not workspace.folder.is_dir():
            known = sorted(p.name for p in Path(root).glob("*") if (p / "plan.json").exists())
            raise UserError(
                f"There is no workspace for '{dataset}'.",
                file=workspace.folder,
                found="planned data sets: " + (", ".join(known) or "none"),
                remedy=PLAN_REMEDY,
            )
        return workspace

    def dataset(self) -> Dataset:
        """The cases that were planned."""
        return self._load(Dataset, "dataset.json")

    def plan(self) -> Plan:
        """The decisions."""
        return self._load(Plan, "plan.json")

    def fingerprint(self) -> Fingerprint:
        """The measurements."""
        return self._load(Fingerprint, "fingerprint.json")

    def splits(self) -> Splits:
        """The cross-validation."""
        return self._load(Splits, "splits.json")

    def preprocessed(self, configuration: str) -> Path:
        """Folder of a configuration's preprocessed cases."""
        return self.folder / "preprocessed" / configuration

    def _load(self, record: type[RecordT], name: str) -> RecordT:
        return record.load(self.folder / name, PLAN_REMEDY)


def plan_dataset(
    dataset_folder: Path,
    root: Path,
    *,
    preset: str = "default",
    memory_gb: float | None = None,
    for_model: str | None = None,
    overrides: Overrides | None = None,
    configurations: Sequence[str] | None = None,
    fix_geometry: bool = False,
    workers: int = 0,
    quiet: bool = False,
) -> tuple[Workspace, Fingerprint, Plan]:
    """Check and measure a data set, decide how to train on it, and preprocess it.

    Args:
        dataset_folder: A data set in nnU-Net v2's raw format.
        root: Where workspaces are kept.
        preset: The planner's rules.
        memory_gb: GPU memory to plan for; the preset's own if None.
        for_model: Plan so that this model's expected training memory fits.
        overrides: Spacing, patch and batch size that the user fixed.
        configurations: Which to preprocess; None means all that the plan has.
        fix_geometry: Use copies of label maps under their image's header, where spacing, origin or direction differ.
        workers: Processes for per-case work; 0 works in this one.
        quiet: No progress bars.

    Raises:
        UserError: Something is wrong with the data; nothing but the table of all problems (``problems.csv``) and
            fixed label maps is written before the whole data set has been checked.
    """
    dataset, structural = survey_dataset(dataset_folder)
    workspace = Workspace(Path(root).absolute() / dataset.name)
    if fix_geometry:
        fixed = workspace.folder / "fixed" / "labelsTr"
        dataset = with_fixed_geometry(dataset, fixed, workers=workers, quiet=quiet)

    def report(problems: Sequence[Problem]) -> None:
        report_problems([*structural, *problems], dataset.folder, workspace.folder / "problems.csv")

    # What is missing or in excess is no part of the hash: then everything is looked at, and reported together.
    earlier = None if structural else _earlier_fingerprint(workspace)
    fingerprint = extract_fingerprint(dataset, workers=workers, quiet=quiet, report=report, earlier=earlier)
    plan = make_plan(fingerprint, dataset.description, preset, memory_gb, for_model=for_model, overrides=overrides)
    # A configuration that inherits uses the images of another one.
    chosen = {plan.configuration(name).inherits_from or name for name in configurations or plan.configurations}

    _remove_stale(workspace, fingerprint, plan, chosen)
    dataset.save(workspace.folder / "dataset.json")
    fingerprint.save(workspace.folder / "fingerprint.json")
    plan.save(workspace.folder / "plan.json")
    _keep_or_make_splits(workspace, [case.id for case in dataset.cases])
    for name in [name for name in plan.configurations if name in chosen]:
        preprocess_dataset(dataset, plan, name, workspace.preprocessed(name), workers=workers, quiet=quiet)
    return workspace, fingerprint, plan


def _earlier_fingerprint(workspace: Workspace) -> Fingerprint | None:
    try:
        return workspace.fingerprint()
    except UserError:
        # None yet; or of another version, or damaged: it is made anew.
        return None


def _remove_stale(workspace: Workspace, fingerprint: Fingerprint, plan: Plan, chosen: Collection[str]) -> None:
    """Images that an earlier plan made otherwise, or of other data, must not be trained on under the new plan."""
    try:
        earlier, measured = workspace.plan(), workspace.fingerprint()
    except UserError:
        return
    same_data = measured.content_hash == fingerprint.content_hash
    for name in earlier.configurations:
        folder = workspace.preprocessed(name)
        if name in chosen or not folder.is_dir():
            continue
        if not (same_data and name in plan.configurations and _images_of(earlier, name) == _images_of(plan, name)):
            log.warning("%s no longer fits the plan and is removed", folder)
            shutil.rmtree(folder)


def _images_of(plan: Plan, name: str) -> dict[str, object]:
    """All that preprocessing depends on: what the network sees later (patch, batch, strides) is no part of it."""
    shared = {"transpose_forward", "foreground_intensity_properties_per_channel", "boundary_width"}
    own = {"spacing", "normalization_schemes", "use_mask_for_norm"}
    return {**plan.model_dump(include=shared), **plan.configuration(name).model_dump(include=own)}


def _keep_or_make_splits(workspace: Workspace, case_ids: Sequence[str]) -> None:
    """Splits that the user edited, or that trained folds rely on, stay as long as they name only existing cases."""
    path = workspace.folder / "splits.json"
    if path.exists():
        there = workspace.splits()
        named = {case for split in there.folds for case in (*split.train, *split.validation)}
        if named <= set(case_ids):
            log.info("keeping %s", path)
            return
        log.warning("%s names cases that are gone: it is made anew", path)
    make_splits(case_ids).save(path)
