"""The folder of a run: what may be continued, what is refused, what is discarded."""

from __future__ import annotations

import shutil
from collections.abc import Collection

from umseg.common.errors import UserError
from umseg.common.files import remove_leftovers
from umseg.models.card import ModelCard
from umseg.training.config.training_config import TrainingConfig
from umseg.workspace import ModelFolder


class RunFolder:
    """One fold of a model folder.

    Attributes:
        models: The folder that all folds share.
        fold: The run's own.
        discarded: Folds whose earlier runs are to be thrown away.
        begun: A run is there and will be continued.
        complete: That run has trained all its epochs.
    """

    def __init__(self, models: ModelFolder, config: TrainingConfig, discard: Collection[int | str] = ()) -> None:
        self.models = models
        self.fold = models.fold(config.fold)
        self.config = config
        self.discarded = [models.fold(fold) for fold in discard]
        self.begun = self.fold not in self.discarded and self.fold.checkpoint.exists()
        self.complete = False
        if self.begun:
            earlier = TrainingConfig.load(self.fold.config_file, "Start this fold anew with --restart.")
            self._refuse_change(earlier)
            self.complete = self.fold.weights("final").exists() and config.epochs == earlier.epochs

    def check(self, card: ModelCard) -> None:
        """All folds share one card; a fold of another plan or network must not join them.

        Raises:
            UserError: Another fold, or the run that is to be continued, has another card.
        """
        path = self.models.card_file
        others = [fold for fold in self.models.folds() if fold.checkpoint.exists()]
        if not path.exists() or not set(others) - set(self.discarded):
            return
        there = ModelCard.load(path, "Remove the folder, or train with --tag NAME.")
        if there.model_copy(update={"umseg_version": card.umseg_version}) != card:
            raise UserError(
                "The model folder holds folds of another plan or network.",
                file=path,
                found="a model.json that differs from what this run would write",
                remedy="Train with --tag NAME to keep both, or remove the folder.",
            )

    def prepare(self, card: ModelCard) -> None:
        """Discard what is to be discarded; write ``model.json`` and ``config.json``. Nothing is refused any more."""
        for fold in self.discarded:
            shutil.rmtree(fold.path, ignore_errors=True)
        remove_leftovers(self.fold.path)
        card.save(self.models.card_file)
        self.config.save(self.fold.config_file)
        if self.begun and not self.complete:
            # More epochs than before: the weights are no longer final.
            self.fold.weights("final").unlink(missing_ok=True)

    def _refuse_change(self, earlier: TrainingConfig) -> None:
        old, new = earlier.resolved().model_dump(), self.config.resolved().model_dump()
        # More epochs only stretch the schedule: what is left of it is longer.
        extended = {"epochs"} if new["epochs"] > old["epochs"] else set()
        changed = [name for name in new if old[name] != new[name] and name not in extended]
        if changed:
            raise UserError(
                "This fold was begun with other options.",
                file=self.fold.config_file,
                found=", ".join(f"{name} = {new[name]}" for name in changed),
                expected=", ".join(f"{name} = {old[name]}" for name in changed),
                remedy="Repeat the earlier options to continue, begin anew with --restart, or keep both with --tag "
                "NAME.",
            )
