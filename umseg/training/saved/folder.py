"""The folder of a run: which earlier runs are resumed, refused or discarded."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator

from umseg.common.errors import UserError
from umseg.common.files import remove_leftovers
from umseg.common.processes.claims import clear_folder
from umseg.common.text import few
from umseg.models.card import ModelCard
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.splits import Split, other_cases, seen_in_training
from umseg.workspace import WEIGHTS, FoldFolder, ModelFolder

log = logging.getLogger(__name__)


class RunFolder:
    """One fold of a model folder.

    Attributes:
        models: The model folder, which all folds share.
        fold: The run's folder.
        config: The run's training configuration.
        split: The cases of the fold.
        discarded: Folders of folds whose earlier runs will be deleted.
        begun: Whether there is an earlier run, which will be resumed.
        complete: Whether that run has trained all its epochs.
    """

    def __init__(
        self, models: ModelFolder, config: TrainingConfig, split: Split, discard: Collection[int | str] = ()
    ) -> None:
        self.models = models
        self.fold = models.fold(config.fold)
        self.config = config
        self.split = split
        self.discarded = [models.fold(fold) for fold in discard]
        self.begun = self.fold not in self.discarded and self.fold.trained
        self.complete = False
        if self.begun:
            earlier = TrainingConfig.load(self.fold.config_file, "Train this fold from the beginning with --restart.")
            self._check_options(earlier)
            self.complete = self.fold.weights("final").exists() and config.epochs == earlier.epochs
            if not self.complete and not self.fold.checkpoint.exists():
                raise _without_checkpoint(self.fold)

    def check(self, card: ModelCard) -> None:
        """Check that the card is that of the other folds, which share one card.

        Raises:
            UserError: Another fold, or the run that would be resumed, belongs to another plan or network.
        """
        path = self.models.card_file
        others = [fold for fold in self.models.folds() if fold.trained]
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

    def check_cases(self) -> None:
        """Compare the cases of the fold with those that the earlier run was trained with, if it is known.

        Other cases are a warning. A validation case that the run has trained on is refused: its score would mean
        nothing.

        Raises:
            UserError: Training cases of the run are now validation cases.
        """
        if not self.begun or not self.fold.split_file.exists():
            return
        trained = Split.load(self.fold.split_file, "Train this fold from the beginning with --restart.")
        seen = seen_in_training(trained, self.split) if self.config.fold != "all" else ()
        if seen:
            raise UserError(
                "Cases that this fold was trained with are now its validation cases.",
                file=self.fold.split_file,
                found=few(seen),
                expected="validation cases that the weights have never seen",
                remedy="Train from the beginning with --restart, or keep both runs with --tag NAME.",
            )
        difference = other_cases(trained, self.split)
        if difference:
            log.warning(
                "Fold %s was trained with other cases than it has now (%s). %s",
                self.config.fold,
                difference,
                "It stays as it is; --restart trains it anew."
                if self.complete
                else "It goes on with those that it has now; --restart trains it anew.",
            )

    def discard(self) -> None:
        """Delete the runs that are discarded; their folders stay claimed."""
        for fold in self.discarded:
            clear_folder(fold.path)

    def prepare(self, card: ModelCard, precision: str) -> None:
        """Delete the runs that are discarded, and write ``model.json``, ``config.json`` and ``split.json``.

        Args:
            card: The model's card.
            precision: Name of the number format that the run uses.
        """
        self.discard()
        remove_leftovers(self.fold.path)
        card.save(self.models.card_file)
        # What runs is recorded, not what was left open.
        self.config.resolved(card.configuration).model_copy(update={"precision": precision}).save(self.fold.config_file)
        self._all_cases().save(self.fold.split_file)
        if self.begun and not self.complete:
            # The run is extended by more epochs: its weights are no longer final, and what they led to is not theirs.
            for file in (self.fold.weights("final"), self.fold.metrics_file, self.fold.postprocessing_file):
                file.unlink(missing_ok=True)

    def _all_cases(self) -> Split:
        """The cases of the fold, and those that an earlier part of the run was trained with."""
        if not self.begun or not self.fold.split_file.exists():
            return self.split
        earlier = Split.load(self.fold.split_file, "Train this fold from the beginning with --restart.")
        more = sorted(set(earlier.train) - set(self.split.train))
        return self.split.model_copy(update={"train": (*self.split.train, *more)})

    def _check_options(self, earlier: TrainingConfig) -> None:
        old, new = earlier.resolved().model_dump(), self.config.resolved().model_dump()
        # A larger number of epochs only stretches the remainder of the schedule.
        extended = {"epochs"} if new["epochs"] > old["epochs"] else set()
        # The plan's values are part of the model's card, with which the run is compared, too.
        left_open = {name for name in ("batch_size", "patch_size", "mirror_axes") if new[name] is None}
        if new["precision"] == "auto":
            left_open.add("precision")
        changed = [name for name in new if old[name] != new[name] and name not in extended | left_open]
        if changed:
            raise UserError(
                "This fold was trained with other options.",
                file=self.fold.config_file,
                found=", ".join(f"{name} = {new[name]}" for name in changed),
                expected=", ".join(f"{name} = {old[name]}" for name in changed),
                remedy="Repeat the earlier options to resume, train from the beginning with --restart, or keep both "
                "with --tag NAME.",
            )


def _without_checkpoint(fold: FoldFolder) -> UserError:
    weights = " and ".join(path.name for path in map(fold.weights, WEIGHTS) if path.exists())
    return UserError(
        "The fold holds trained weights, but not the checkpoint from which its training could go on.",
        file=fold.path,
        found=f"{weights}, no {fold.checkpoint.name}",
        remedy="Train it from the beginning with --restart, which deletes these weights, or keep them with --tag NAME.",
    )


def differences(earlier: ModelCard, card: ModelCard) -> tuple[str, str]:
    """The values in which two cards differ, in words: those of the first, and those of the second."""
    before, now = _described(earlier), _described(card)
    different = [name for name in now if before[name] != now[name]]
    if not different:
        # Values that nobody chooses, and that words would not explain: their names have to do.
        ignored = {"umseg_version"}
        fields = few(_other_fields(earlier.model_dump(exclude=ignored), card.model_dump(exclude=ignored)))
        return f"another {fields}", f"the {fields} of this workspace"
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
        "data set": card.plan.dataset_name,
        "training cases": str(card.dataset.numTraining),
        "configuration": card.configuration_name,
        "preset": card.plan.preset,
        "memory target": f"{card.plan.memory_gb:g} GB",
        "spacing": _by(configuration.spacing),
        "patch": _by(configuration.patch_size),
        "batch size": str(configuration.batch_size),
        "stages": str(configuration.num_stages),
        "features": ", ".join(map(str, configuration.features_per_stage)),
        "mirrored axes": ", ".join(map(str, card.mirror_axes)) or "none",
        "channels": ", ".join(card.dataset.channel_names.values()),
        "normalisation": ", ".join(configuration.normalization_schemes),
        "classes": ", ".join(card.dataset.labels),
        "first stage": card.first_stage or "none",
        "orientation": card.orientation or "as stored",
    }


def _other_fields(before: object, now: object, path: str = "") -> Iterator[str]:
    """The paths of the values in which two documents differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted({*before, *now}):
            yield from _other_fields(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
    elif before != now:
        yield path


def _by(sizes: Iterable[float]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)
