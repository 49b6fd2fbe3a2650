"""The learning rate in the course of training: the table of the schedules, and the factor that they give."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from umseg.common.registry import Registry


@dataclass(frozen=True)
class Moment:
    """What a schedule may depend on.

    Attributes:
        progress: Fraction of the epochs that are finished, from 0 to less than 1.
        power: Value of ``--power``.
        end: Value of ``--lr-end`` as a fraction of the initial learning rate.
    """

    progress: float
    power: float
    end: float


@dataclass(frozen=True)
class ScheduleSpec:
    """A schedule of the learning rate.

    Attributes:
        name: Name on the command line.
        description: One line for help texts.
        factor: The factor on the initial learning rate at a moment of training.
    """

    name: str
    description: str
    factor: Callable[[Moment], float]


def _poly(moment: Moment) -> float:
    return math.pow(1 - moment.progress, moment.power)


def _cosine(moment: Moment) -> float:
    return moment.end + (1 - moment.end) * (1 + math.cos(math.pi * moment.progress)) / 2


def _constant(moment: Moment) -> float:
    return 1.0


_OWN = (
    ScheduleSpec("poly", "(1 - epoch / epochs) to the power of --power", _poly),
    ScheduleSpec("cosine", "half a period of the cosine, down to --lr-end", _cosine),
    ScheduleSpec("constant", "no change", _constant),
)

SCHEDULES: Registry[ScheduleSpec] = Registry(
    "schedule", "umseg.schedules", {spec.name: spec for spec in _OWN}, accepts=ScheduleSpec
)
"""The schedules by name (docs/rules.md, Optimisation)."""


def learning_rate_factor(
    schedule: str, epoch: int, epochs: int, step: int, *, power: float = 0.9, end: float = 0.0, warmup: int = 0
) -> float:
    """Factor on the initial learning rate. Apart from the warm-up it stays the same for a whole epoch.

    In the first ``warmup`` iterations the schedule's factor is multiplied by (step + 1) / warmup.

    Args:
        schedule: A name in ``SCHEDULES``.
        epoch: Number of the epoch, from 0.
        epochs: Number of epochs in all.
        step: Iterations since the beginning of training.
        power: Exponent of ``poly``.
        end: Learning rate at the end of ``cosine``, as a fraction of the initial one.
        warmup: Iterations in which the learning rate rises.

    Raises:
        UserError: There is no such schedule.
    """
    factor = SCHEDULES.look_up(schedule, "--schedule").factor(Moment(epoch / epochs, power, end))
    return factor * (min(1.0, (step + 1) / warmup) if warmup else 1.0)
