"""The folder of a run: which earlier runs are resumed, refused or discarded."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable

from umseg.common.errors import UserError
from umseg.common.files import remove_leftovers
from umseg.models.card import ModelCard
from umseg.training.config.training_config import TrainingConfig
from umseg.workspace import ModelFolder


class RunFolder:
    """One fold of a model folder.

    Attributes:
        models: The model folder, which all folds share.
        fold: The run's folder.
        config: The run's training configuration.
        discarded: Folders of folds whose earlier runs will be deleted.
        begun: Whether there is an earlier run, which will be resumed.
        complete: Whether that run has trained all its epochs.
    """

    def __init__(self, models: ModelFolder, config: TrainingConfig, discard: Collection[int | str] = ()) -> None:
        self.models = models
        self.fold = models.fold(config.fold)
        self.config = config
        self.discarded = [models.fold(fold) for fold in discard]
        self.begun = self.fold not in self.discarded and self.fold.checkpoint.exists()
        self.complete = False
        if self.begun:
            earlier = TrainingConfig.load(self.fold.config_file, "Train this fold from the beginning with --restart.")
            self._check_options(earlier)
            self.complete = self.fold.weights("final").exists() and config.epochs == earlier.epochs

    def check(self, card: ModelCard) -> None:
        """Check that the card is that of the other folds, which share one card.

        Raises:
            UserError: Another fold, or the run that would be resumed, belongs to another plan or network.
        """
        path = self.models.card_file
        others = [fold for fold in self.models.folds() if fold.checkpoint.exists()]
        if not path.exists() or not set(others) - set(self.discarded):
            return
        earlier = ModelCard.load(path, "Remove the folder, or train with --tag NAME.")
        same: dict[str, str | None] = {"umseg_version": card.umseg_version}
        if "orientation" not in earlier.model_fields_set:
            # Earlier versions did not record the orientation.
            same["orientation"] = card.orientation
        if earlier.model_copy(update=same) != card:
            found, expected = differences(earlier, card)
            raise UserError(
                "The model folder holds folds of another plan or network.",
                file=path,
                found=f"trained with {found}",
                expected=f"as in this run: {expected}",
                remedy="Train with --tag NAME to keep both, or remove the folder.",
            )

    def prepare(self, card: ModelCard) -> None:
        """Delete the runs that are discarded, and write ``model.json`` and ``config.json``."""
        for fold in self.discarded:
            shutil.rmtree(fold.path, ignore_errors=True)
        remove_leftovers(self.fold.path)
        card.save(self.models.card_file)
        self.config.save(self.fold.config_file)
        if self.begun and not self.complete:
            # The run is extended by more epochs: its weights are no longer final.
            self.fold.weights("final").unlink(missing_ok=True)

    def _check_options(self, earlier: TrainingConfig) -> None:
        old, new = earlier.resolved().model_dump(), self.config.resolved().model_dump()
        # A larger number of epochs only stretches the remainder of the schedule.
        extended = {"epochs"} if new["epochs"] > old["epochs"] else set()
        changed = [name for name in new if old[name] != new[name] and name not in extended]
        if changed:
            raise UserError(
                "This fold was trained with other options.",
                file=self.fold.config_file,
                found=", ".join(f"{name} = {new[name]}" for name in changed),
                expected=", ".join(f"{name} = {old[name]}" for name in changed),
                remedy="Repeat the earlier options to resume, train from the beginning with --restart, or keep both "
                "with --tag NAME.",
            )


def differences(earlier: ModelCard, card: ModelCard) -> tuple[str, str]:
    """The values in which two cards differ, in words: those of the first, and those of the second."""
    before, now = _described(earlier), _described(card)
    different = [name for name in now if before[name] != now[name]]
    if not different:
        return "another plan or data set description", "the plan and dataset.json of this workspace"
    first, second = (", ".join(f"{name} {each[name]}" for name in different) for each in (before, now))
    return first, second


def _described(card: ModelCard) -> dict[str, str]:
    """What a user may have chosen otherwise, in words."""
    configuration = card.plan.configuration(card.configuration_name)
    return {
        "model": card.model,
        "Mamba layers": ("with" if card.options.ssm_residual else "without") + " residual connections"
        if card.options.ssm
        else "none",
        "configuration": card.configuration_name,
        "preset": card.plan.preset,
        "spacing": _by(configuration.spacing),
        "patch": _by(configuration.patch_size),
        "batch size": str(configuration.batch_size),
        "features": ", ".join(map(str, configuration.features_per_stage)),
        "mirrored axes": ", ".join(map(str, card.mirror_axes)) or "none",
        "normalisation": ", ".join(configuration.normalization_schemes),
        "classes": ", ".join(card.dataset.labels),
        "first stage": card.first_stage or "none",
        "orientation": card.orientation or "as stored",
    }


def _by(sizes: Iterable[float]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)
