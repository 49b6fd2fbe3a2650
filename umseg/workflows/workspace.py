"""A data set's workspace: where its files are, and ``umseg plan``, which fills it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.record import RecordT
from umseg.dataset.dataset import Dataset, load_dataset
from umseg.planning import Fingerprint, Plan, extract_fingerprint, make_plan
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
    configurations: Sequence[str] | None = None,
    workers: int = 0,
    quiet: bool = False,
) -> tuple[Workspace, Fingerprint, Plan]:
    """Check and measure a data set, decide how to train on it, and preprocess it.

    Args:
        dataset_folder: A data set in nnU-Net v2's raw format.
        root: Where workspaces are kept.
        preset: The planner's rules.
        configurations: Which to preprocess; None means all that the plan has.
        workers: Processes for per-case work; 0 works in this one.
        quiet: No progress bars.

    Raises:
        UserError: Something is wrong with the data; nothing is written before the whole data set has been checked.
    """
    dataset = load_dataset(dataset_folder)
    fingerprint = extract_fingerprint(dataset, workers=workers, quiet=quiet)
    plan = make_plan(fingerprint, dataset.description, preset=preset)
    chosen = list(configurations or plan.configurations)
    workspace = Workspace(Path(root).absolute() / dataset.name)
    for name in chosen:
        plan.configuration(name)

    dataset.save(workspace.folder / "dataset.json")
    fingerprint.save(workspace.folder / "fingerprint.json")
    plan.save(workspace.folder / "plan.json")
    _keep_or_make_splits(workspace, [case.id for case in dataset.cases])
    for name in chosen:
        preprocess_dataset(dataset, plan, name, workspace.preprocessed(name), workers=workers, quiet=quiet)
    return workspace, fingerprint, plan


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
