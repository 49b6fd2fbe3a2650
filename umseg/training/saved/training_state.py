"""The part of a checkpoint that is not tensors: log, losses of the unfinished epoch, and loss scale."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from umseg.common.errors import UserError
from umseg.common.record import Record
from umseg.common.text import few
from umseg.training.watch.log import EpochLog


class TrainingState(Record):
    """What a run continues with besides weights and optimisers.

    Attributes:
        log: The finished epochs.
        losses: Losses of the unfinished epoch's iterations; NaN where a step was skipped.
        scaler: State of the loss scale by name; empty where losses are not scaled.
    """

    log: tuple[EpochLog, ...]
    losses: tuple[float, ...] = ()
    scaler: dict[str, int | float]

    @classmethod
    def read(
        cls,
        content: Mapping[str, Any],
        path: Path,
        remedy: str,
        *,
        epochs: int,
        iterations: int,
        classes: Collection[str],
        scaler: Mapping[str, Any],
    ) -> TrainingState:
        """Check the state of a checkpoint against the run that continues it.

        Args:
            content: The state as it was read.
            path: File of the checkpoint.
            remedy: What the user can do.
            epochs: Epochs that the run is to have.
            iterations: Iterations of an epoch.
            classes: Names of the foreground classes.
            scaler: State of the run's own loss scale.

        Raises:
            UserError: A part is missing or has another form, or there is more than the run is to have.
        """
        state = cls.from_json(dict(content), path, remedy)
        numbers = [row.epoch for row in state.log]
        unknown = {name for row in state.log for name in set(row.dice) ^ set(classes)}
        problems = [
            (len(numbers) > epochs, f"{len(numbers)} finished epochs", f"at most {epochs}, as asked for"),
            (numbers != list(range(1, len(numbers) + 1)), "epochs that are not numbered from 1", "1, 2, 3, ..."),
            (len(state.losses) > iterations, f"losses of {len(state.losses)} iterations", f"at most {iterations}"),
            (bool(unknown), f"a log with other classes: {few(sorted(unknown))}", f"the classes {few(classes)}"),
            (not _fits(state.scaler, scaler), f"a loss scale of {dict(state.scaler)}", f"one such as {dict(scaler)}"),
        ]
        for wrong, found, expected in problems:
            if wrong:
                raise UserError(
                    f"{path.name} is not a checkpoint from which this training can go on.",
                    file=path,
                    found=found[:300],
                    expected=expected[:300],
                    remedy=remedy,
                )
        return state

    @property
    def stepped(self) -> bool:
        """Whether a step has changed the weights, so that optimisers must have a state."""
        return bool(self.log) or any(not math.isnan(loss) for loss in self.losses)


def _fits(found: Mapping[str, int | float], own: Mapping[str, Any]) -> bool:
    """Whether a loss scale has the parts of this run's own, whole numbers where that has them, and none below 0."""
    return found.keys() == own.keys() and all(
        math.isfinite(value) and value >= 0 and (isinstance(value, int) or isinstance(own[name], float))
        for name, value in found.items()
    )
