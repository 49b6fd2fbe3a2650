"""Where everything lies: the one place that knows the file names of workspaces, model folders and folds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from umseg.common.errors import UserError
from umseg.common.files import plain_path
from umseg.common.json_file import read_json
from umseg.common.names import require_component
from umseg.common.registry import nearest

if TYPE_CHECKING:
    from umseg.common.record import Record, RecordT

DEFAULT_ROOT = Path("umseg-workspace")
PLAN_REMEDY = "Run `umseg plan DATASET` first, or give the --workspace that it wrote to."
MODEL_REMEDY = "Give the folder that `umseg train` made: .../models/<model>__<configuration>."

WeightsName = Literal["final", "best"]
WEIGHTS: tuple[WeightsName, ...] = ("final", "best")
"""``final``: of the last epoch. ``best``: of the epoch with the highest validation Dice."""

CARD = "model.json"
LATEST = "checkpoint_latest.safetensors"
BEST = "weights_best.safetensors"
FINAL = "weights_final.safetensors"
METRICS = "metrics.json"
POSTPROCESSING = "postprocessing.json"
BEST_CHOICE = "best.json"
_FOLD = "fold_"
_RECORDS = {
    "Dataset": "dataset.json",
    "Fingerprint": "fingerprint.json",
    "Plan": "plan.json",
    "Splits": "splits.json",
}
"""The records of a workspace, by the names of their classes."""


@dataclass(frozen=True)
class Workspace:
    """Everything that belongs to one data set, ``W/<DatasetName>``.

    Attributes:
        folder: The workspace of this data set.
    """

    folder: Path

    def __fspath__(self) -> str:
        return str(self.folder)

    @classmethod
    def of(cls, dataset: str, root: Path) -> Workspace:
        """The workspace of a data set given by its name or the path of its folder.

        Raises:
            UserError: Nothing has been planned for it, or the workspace of that name belongs to another folder.
        """
        workspace = cls.to_be(Path(dataset), root)
        if not workspace.folder.is_dir():
            known = sorted(path.name for path in Path(root).glob("*") if cls(path).plan_file.exists())
            near = nearest(workspace.folder.name, known)
            raise UserError(
                f"There is no workspace for '{dataset}'.",
                file=workspace.folder,
                found="planned data sets: " + (", ".join(known) or "none"),
                remedy=f"Did you mean '{near}'? If not: {PLAN_REMEDY}" if near else PLAN_REMEDY,
            )
        folder = Path(dataset)
        # A name alone is the workspace's, unless a data set of that name is at hand.
        if folder.name != dataset or (folder / _RECORDS["Dataset"]).is_file():
            moved_from = workspace.moved_from(folder)
            if moved_from is not None:
                raise UserError(
                    "The data set was planned from another folder, which is gone.",
                    file=moved_from,
                    found=f"named now: {folder.absolute()}",
                    remedy="Plan it again in its new place with `umseg plan`, which keeps the folds and what fits.",
                )
        return workspace

    @classmethod
    def to_be(cls, dataset: Path, root: Path) -> Workspace:
        """The workspace of a data set, whether it exists or not.

        Raises:
            UserError: The folder of the workspaces is a file, or the data set has no name.
        """
        root = plain_path(root)
        if root.exists() and not root.is_dir():
            raise UserError(
                "The folder of the workspaces is not a folder.",
                file=root,
                found="a file",
                remedy="Name another folder with --workspace.",
            )
        # `Path.absolute` would keep ".." as the name.
        name = Path(os.path.abspath(dataset)).name  # noqa: PTH100
        return cls(root / require_component(name, "The name of the data set"))

    def planned_from(self) -> Path | None:
        """The folder of the data set that was planned; None if nothing was, or if the record is damaged."""
        try:
            content = read_json(self.folder / _RECORDS["Dataset"], PLAN_REMEDY)
        except UserError:
            return None
        folder = content.get("folder") if isinstance(content, dict) else None
        return Path(folder) if isinstance(folder, str) else None

    def moved_from(self, dataset: Path) -> Path | None:
        """Where the data set stood when it was planned, if that is not ``dataset`` and does not exist any more.

        Raises:
            UserError: The workspace belongs to another data set, which still exists.
        """
        dataset = Path(dataset).absolute()
        owner = self.planned_from()
        if owner is None or _same(owner, dataset) or _same(self.folder, dataset):
            return None
        if not (owner / _RECORDS["Dataset"]).exists():
            return owner
        raise UserError(
            "The workspace belongs to another data set of the same name.",
            file=self.folder,
            found=f"planned from {owner}",
            expected=f"planned from {dataset}",
            remedy="Give each data set a --workspace of its own. If this one was only moved or copied, remove or "
            "rename the old folder, and plan again.",
        )

    def load(self, record: type[RecordT]) -> RecordT:
        """Read the workspace's ``Dataset``, ``Fingerprint``, ``Plan`` or ``Splits``; the argument is that class.

        Raises:
            UserError: The file is missing or not valid.
        """
        return record.load(self.file(record), PLAN_REMEDY)

    def file(self, record: type[Record]) -> Path:
        """The file of one of these records."""
        return self.folder / _RECORDS[record.__name__]

    @property
    def plan_file(self) -> Path:
        """The decisions: a ``Plan``."""
        return self.folder / _RECORDS["Plan"]

    @property
    def problems_file(self) -> Path:
        """The table of everything that is wrong with the data."""
        return self.folder / "problems.csv"

    @property
    def data_page(self) -> Path:
        """What the data set holds, its odd cases first: a page for the browser."""
        return self.folder / "data.html"

    @property
    def groups_file(self) -> Path:
        """The groups that were given to the plan: a table of cases and groups."""
        return self.folder / "groups.csv"

    @property
    def measured(self) -> Path:
        """Folder of the measurements that a plan keeps until all cases are measured."""
        return self.folder / "measured"

    @property
    def memory_file(self) -> Path:
        """The measured memory of networks whose layers are not described: a ``MeasuredMemory``."""
        return self.folder / "memory.json"

    @property
    def fixed_labels(self) -> Path:
        """Folder of the label maps whose headers were corrected."""
        return self.folder / "fixed" / "labelsTr"

    @property
    def stores(self) -> Path:
        """Folder of all configurations' preprocessed cases."""
        return self.folder / "preprocessed"

    def preprocessed(self, configuration: str) -> Path:
        """Folder of a configuration's preprocessed cases."""
        return self.stores / configuration

    def first_stage(self, configuration: str, models: ModelFolder) -> Path:
        """Folder of the segmentations by a cascade's first stage, prepared for its second one's configuration."""
        return self.preprocessed(configuration) / models.path.name

    def model(self, name: str, configuration: str) -> ModelFolder:
        """The folder that all folds of a model share."""
        return ModelFolder(self.folder / "models" / f"{name}__{configuration}")

    def named_model(self, name: str) -> ModelFolder:
        """The model folder of this name."""
        return ModelFolder(self.folder / "models" / name)

    def ensemble(self, models: Sequence[ModelFolder]) -> ModelFolder:
        """The folder of what several models predict together for the validation cases of their folds."""
        return ModelFolder(self.folder / "ensembles" / "+".join(model.path.name for model in models))

    @property
    def best_file(self) -> Path:
        """The models to predict with and their post-processing, which cross-validation chose: a ``Best``."""
        return self.folder / BEST_CHOICE

    def models(self) -> list[ModelFolder]:
        """All model folders, by name."""
        return [ModelFolder(path) for path in sorted((self.folder / "models").glob("*__*")) if path.is_dir()]


def choice_file(place: Path) -> Path | None:
    """The ``best.json`` that a path stands for: itself, or the one in a folder that is no model folder.

    Such a folder is a workspace, or the unpacked bundle of what ``umseg best`` chose.
    """
    if place.name == BEST_CHOICE:
        return place
    file = place / BEST_CHOICE
    return file if file.is_file() and not ModelFolder(place).card_file.exists() else None


def _same(first: Path, second: Path) -> bool:
    """Whether two paths lead to the same place, also through links."""
    try:
        return os.path.samefile(first, second)  # noqa: PTH121 (of paths that may not exist)
    except OSError:
        return os.path.normcase(os.path.normpath(first)) == os.path.normcase(os.path.normpath(second))


@dataclass(frozen=True)
class ModelFolder:
    """One model on one configuration, ``models/<model>__<configuration>``.

    Attributes:
        path: The folder.
    """

    path: Path

    def require(self) -> None:
        """Refuse a folder that does not exist.

        Raises:
            UserError: There is no such folder.
        """
        if not self.path.is_dir():
            raise UserError("The model folder does not exist.", file=self.path, remedy=MODEL_REMEDY)

    @property
    def card_file(self) -> Path:
        """All that prediction needs to know: a ``ModelCard``."""
        return self.path / CARD

    def fold(self, name: int | str) -> FoldFolder:
        """The folder of one fold, ``all`` included, whether it exists or not."""
        return FoldFolder(self.path / f"{_FOLD}{name}")

    def folds(self) -> list[FoldFolder]:
        """The folders of the folds that exist, sorted by name."""
        return [FoldFolder(path) for path in sorted(self.path.glob(f"{_FOLD}*")) if path.is_dir()]


@dataclass(frozen=True)
class FoldFolder:
    """One training run, ``fold_<k>`` in a model folder.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def models(self) -> ModelFolder:
        """The model folder that it lies in."""
        return ModelFolder(self.path.parent)

    @property
    def name(self) -> str:
        """``0`` to ``4``, or ``all``."""
        return self.path.name.removeprefix(_FOLD)

    @property
    def config_file(self) -> Path:
        """Every choice that the run depends on: a ``TrainingConfig``."""
        return self.path / "config.json"

    @property
    def split_file(self) -> Path:
        """The cases that the run trains and validates on: a ``Split``."""
        return self.path / "split.json"

    @property
    def checkpoint(self) -> Path:
        """What a stopped run continues from."""
        return self.path / LATEST

    def weights(self, name: WeightsName) -> Path:
        """The weights of the last epoch, or those of the best."""
        return self.path / {"final": FINAL, "best": BEST}[name]

    @property
    def postprocessing_file(self) -> Path:
        """How label maps of objects are cleaned, which the validation chose: a ``Postprocessing``."""
        return self.path / POSTPROCESSING

    @property
    def trained(self) -> bool:
        """Whether training has begun here, so that there is something to lose."""
        return any((self.path / name).exists() for name in (LATEST, BEST, FINAL))

    @property
    def log_table(self) -> Path:
        """One line per epoch, for people."""
        return self.path / "log.csv"

    @property
    def log_records(self) -> Path:
        """One JSON record per epoch, for programs."""
        return self.path / "log.jsonl"

    @property
    def log_text(self) -> Path:
        """What the run said: its start, every epoch, warnings, and its end."""
        return self.path / "log.txt"

    @property
    def progress_picture(self) -> Path:
        """The curves of the log."""
        return self.path / "progress.png"

    @property
    def validation(self) -> Path:
        """Folder of the label maps and scores of the held-out cases."""
        return self.path / "validation"

    @property
    def metrics_file(self) -> Path:
        """The scores of the held-out cases."""
        return self.validation / METRICS
