"""The first stage of a cascade, whose segmentation is an input of the second one (docs/rules.md, Cascade)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.text import counted, few
from umseg.dataset.check.digest import digest_of_file, digest_of_record
from umseg.dataset.dataset import Case, Dataset
from umseg.dataset.io.images import read_label
from umseg.dataset.io.orientation import Turn, stored_axes
from umseg.models.card import ModelCard
from umseg.preprocess.cascade_input import fit_label_map
from umseg.preprocess.case import PreprocessedCase
from umseg.preprocess.store.case_store import CaseStore
from umseg.preprocess.store.provenance import Origin
from umseg.training.config.training_config import TrainingConfig, model_folder
from umseg.training.data.splits import Splits
from umseg.workspace import FoldFolder, ModelFolder, Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FirstStage:
    """The model whose segmentations are an input of the second stage.

    Attributes:
        workspace: The data set's workspace.
        models: The first stage's model folder.
        configuration: The first stage's configuration, ``3d_lowres``.
    """

    workspace: Workspace
    models: ModelFolder
    configuration: str

    @classmethod
    def of(cls, workspace: Workspace, config: TrainingConfig, configuration: str, tag: str | None) -> FirstStage:
        """The first stage in the folder that the user named, or in that of the same model and tag."""
        if config.first_stage is not None:
            return cls(workspace, ModelFolder(Path(config.first_stage)), configuration)
        same = config.model_copy(update={"configuration": configuration})
        return cls(workspace, model_folder(workspace, same, tag), configuration)

    def relative_to(self, models: ModelFolder) -> str:
        """The path by which a model card names this folder, so that both can be moved together.

        Raises:
            UserError: Windows has them on different drives.
        """
        try:
            return Path(os.path.relpath(self.models.path, models.path)).as_posix()
        except ValueError as error:
            raise UserError(
                "The first stage lies on another drive than the second one.",
                file=self.models.path,
                expected=f"a folder on the drive of {models.path}",
                remedy="Copy the first stage's model folder to this drive, and name the copy with --first-stage.",
            ) from error

    def store(self, card: ModelCard) -> CaseStore:
        """The store of the segmentations for the second stage: images with one channel of label values."""
        return CaseStore(self.workspace.first_stage(card.configuration_name, self.models))

    def prepare(self, card: ModelCard, dataset: Dataset, case_ids: Iterable[str], quiet: bool) -> None:
        """Bring the segmentations of all cases to the voxels of the second stage.

        The segmentation of a case comes from the fold that did not train on it. Segmentations that are already stored
        are kept.

        Args:
            card: The second stage's model card.
            dataset: The data set.
            case_ids: Ids of the cases that are needed.
            quiet: Whether the progress bar is hidden.

        Raises:
            UserError: A fold of the first stage has not been validated yet, or a label map is damaged.
        """
        needed = set(case_ids)
        cases = [case for case in dataset.cases if case.id in needed]
        files = self._files(cases, dataset.description.file_ending)
        configuration = card.configuration
        images = CaseStore(self.workspace.preprocessed(configuration.inherits_from or card.configuration_name))
        recipe = digest_of_record(configuration.model_copy(update={"patch_size": (), "batch_size": 0}))
        origins = {
            case.id: Origin(source=digest_of_file(file), recipe=recipe + images.record(case.id).origin.recipe)
            for case, file in zip(cases, files, strict=True)
        }
        store = self.store(card)
        stored = set(store.keep(origins, "float16", quiet)) if store.folder.exists() else set()
        for case, file in zip(cases, files, strict=True):
            if case.id in stored:
                continue
            properties = images.record(case.id).properties
            label = fit_label_map(_along(dataset.orientation, file), properties, card.plan, configuration)
            previous = PreprocessedCase(label[None].astype(np.float32), None, {}, properties)
            store.write(case.id, previous, origins[case.id], configuration.patch_size, "float16")
        log.info("First stage: %s of %s.", counted(len(cases), "label map"), self.models.path)

    def _files(self, cases: list[Case], file_ending: str) -> list[Path]:
        splits = self.workspace.load(Splits)
        fold_of = {case_id: fold for fold, split in enumerate(splits.folds) for case_id in split.validation}
        unvalidated = [case.id for case in cases if case.id not in fold_of]
        if unvalidated:
            raise self._incomplete(f"cases that are in no fold's validation set: {few(unvalidated)}", len(splits.folds))
        files = [
            self.models.fold(fold_of[case.id]).validation / f"{case.id}{case.label_ending(file_ending)}"
            for case in cases
        ]
        missing = sorted({FoldFolder(file.parent.parent).name for file in files if not file.is_file()})
        if missing:
            raise self._incomplete(f"no validation results of fold {', '.join(missing)}", len(splits.folds))
        return files

    def _incomplete(self, found: str, folds: int) -> UserError:
        return UserError(
            "The second stage of a cascade needs the first one's segmentation of every case.",
            file=self.models.path,
            found=found,
            expected="label maps of all cases, each from the fold that did not train on it",
            remedy=f"Train the same --model with --config {self.configuration} --fold "
            f"{','.join(map(str, range(folds)))}, or name another model folder with --first-stage.",
        )


def _along(axes: str | None, file: Path) -> NDArray[np.integer[Any]]:
    """A label map of the first stage along the axes of the training images."""
    label = read_label(file)
    return Turn.between(stored_axes(file, label.geometry), axes).array(label.array)
