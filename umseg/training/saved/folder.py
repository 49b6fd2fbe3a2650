"""The folder of a run: what may be continued, what is refused, what is discarded."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import remove_leftovers
from umseg.models.card import FILE_NAME as CARD
from umseg.models.card import ModelCard
from umseg.training.config.training_config import TrainingConfig
from umseg.training.saved import checkpoint


class RunFolder:
    """One fold of a model folder.

    Attributes:
        models: ``models/<model>__<configuration>``, which all folds share.
        path: ``fold_<k>`` in it.
        discarded: Folds whose earlier runs are to be thrown away.
        begun: A run is there and will be continued.
        complete: That run has trained all its epochs.
    """

    def __init__(self, models: Path, config: TrainingConfig, discard: Collection[int | str] = ()) -> None:
        self.models = models
        self.path = models / f"fold_{config.fold}"
        self.config = config
        self.discarded = [models / f"fold_{fold}" for fold in discard]
        self.begun = self.path not in self.discarded and (self.path / checkpoint.LATEST).exists()
        self.complete = False
        if self.begun:
            earlier = TrainingConfig.load(self.path / "config.json", "Start this fold anew with --restart.")
            self._refuse_change(earlier)
            self.complete = (self.path / checkpoint.FINAL).exists() and config.epochs == earlier.epochs

    def check(self, card: ModelCard) -> None:
        """All folds share one card; a fold of another plan or network must not join them.

        Raises:
            UserError: Another fold, or the run that is to be continued, has another card.
        """
        path = self.models / CARD
        others = [found.parent for found in self.models.glob(f"fold_*/{checkpoint.LATEST}")]
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
        for folder in self.discarded:
            shutil.rmtree(folder, ignore_errors=True)
        remove_leftovers(self.path)
        card.save(self.models / CARD)
        self.config.save(self.path / "config.json")
        if self.begun and not self.complete:
            # More epochs than before: the weights are no longer final.
            (self.path / checkpoint.FINAL).unlink(missing_ok=True)

    def _refuse_change(self, earlier: TrainingConfig) -> None:
        old, new = earlier.resolved().model_dump(), self.config.resolved().model_dump()
        # More epochs only stretch the schedule: what is left of it is longer.
        extended = {"epochs"} if new["epochs"] > old["epochs"] else set()
        changed = [name for name in new if old[name] != new[name] and name not in extended]
        if changed:
            raise UserError(
                "This fold was begun with other options.",
                file=self.path / "config.json",
                found=", ".join(f"{name} = {new[name]}" for name in changed),
                expected=", ".join(f"{name} = {old[name]}" for name in changed),
                remedy="Repeat the earlier options to continue, begin anew with --restart, or keep both with --tag "
                "NAME.",
            )
