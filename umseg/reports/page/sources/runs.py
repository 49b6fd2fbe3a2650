"""What is known of the trainings behind a set of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from umseg.architectures.options import ModelOptions
from umseg.models.card import ModelCard
from umseg.planning import Configuration
from umseg.training.config.training_config import TrainingConfig
from umseg.training.watch.log import EpochLog


@dataclass(frozen=True)
class Run:
    """One fold.

    Attributes:
        fold: Its name.
        config: Every choice that the training depended on.
        epochs: The log, one entry per epoch; empty where it is missing.
        software: The line of ``log.txt`` that names versions; empty where it is missing.
        training: Number of training cases; None where it is not known.
        validation: Number of validation cases.
        command: The command that trains it.
    """

    fold: str
    config: TrainingConfig
    epochs: tuple[EpochLog, ...]
    software: str
    training: int | None
    validation: int | None
    command: str


@dataclass(frozen=True)
class Training:
    """The folds of a model.

    Attributes:
        card: The model.
        runs: Its folds.
        cases: Number of cases of the data set.
    """

    card: ModelCard
    runs: tuple[Run, ...]
    cases: int

    @property
    def configuration(self) -> Configuration:
        """The plan's configuration, with the patch and batch that were trained."""
        return self.card.configuration

    @property
    def options(self) -> ModelOptions:
        """The options of the network."""
        return self.card.options


def same_or_list(values: Sequence[object]) -> str:
    """One value where all are the same, or else all of them."""
    distinct = list(dict.fromkeys(str(value) for value in values))
    return distinct[0] if len(distinct) == 1 else ", ".join(distinct)
