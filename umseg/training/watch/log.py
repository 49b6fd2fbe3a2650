"""The log of a run: ``log.csv``, ``log.jsonl`` and ``progress.png``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from umseg.common.colours import class_colours
from umseg.common.files import atomic_path, write_csv, write_text
from umseg.common.record import Record
from umseg.common.text import counted, duration

MOST_IN_PANEL = 8
"""Number of classes up to which their names stand among the curves."""
PATIENCE = 10
"""Number of epochs after which a class should have been found at least once."""


def _number(value: object) -> object:
    # A loss that is not a number is written as null.
    return math.nan if value is None else value


Loss = Annotated[float, BeforeValidator(_number)]


class EpochLog(Record):
    """One row of ``log.csv``.

    Attributes:
        epoch: Number of the epoch, from 1.
        lr: Learning rate of the first optimiser.
        train_loss: Mean loss of the epoch's training batches.
        validation_loss: Mean loss of the epoch's validation batches.
        dice: Dice per foreground class over all validation patches together ("pseudo Dice"); None for a class that
            neither the patches nor the prediction contain.
        mean_dice: Mean of ``dice`` over the classes.
        ema_dice: Exponential moving average of ``mean_dice``: 0.9 old + 0.1 new.
        seconds: Duration of the epoch in seconds.
        seconds_per_iteration: Mean duration of a training iteration in seconds, data loading included.
        skipped_steps: Number of training steps that were skipped because a number was not finite.
    """

    epoch: int
    lr: float
    train_loss: Loss
    validation_loss: Loss
    dice: dict[str, float | None]
    mean_dice: float
    ema_dice: float
    seconds: float
    seconds_per_iteration: float
    skipped_steps: int = 0


def epoch_line(row: EpochLog, epochs: int) -> str:
    """An epoch in one line of text.

    Args:
        row: The epoch.
        epochs: Number of epochs of the run.
    """
    left = epochs - row.epoch
    facts = [
        f"loss {row.train_loss:.3f}",
        f"validation loss {row.validation_loss:.3f}",
        f"Dice {row.mean_dice:.3f}",
        duration(row.seconds),
    ]
    if row.skipped_steps:
        facts.append(f"{counted(row.skipped_steps, 'step')} skipped")
    if left:
        facts.append(f"about {duration(left * row.seconds)} to go")
    return f"Epoch {row.epoch}/{epochs}: {', '.join(facts)}"


def write_log_table(path: Path, rows: Sequence[EpochLog]) -> None:
    """Write one line per epoch as CSV, with a column for every class; atomically."""
    scalars = [name for name in EpochLog.model_fields if name != "dice"]
    classes = list(rows[0].dice) if rows else []
    lines: list[list[object]] = [[*scalars, *(f"dice_{name}" for name in classes)]]
    for row in rows:
        numbers = [getattr(row, name) for name in scalars] + [row.dice[name] for name in classes]
        lines.append([f"{value:.6g}" if isinstance(value, float) else value for value in numbers])
    write_csv(path, lines)


def write_json_lines(path: Path, rows: Sequence[EpochLog]) -> None:
    """Write one line with a JSON object per epoch; atomically."""
    write_text(path, "".join(row.model_dump_json() + "\n" for row in rows))


def unlearned_classes(rows: Sequence[EpochLog]) -> list[str]:
    """Classes whose Dice has been 0, or which did not occur, in all of the first 10, 20, 40, ... epochs.

    A class is named only when the number of epochs reaches one of these numbers, so that a warning is seldom repeated.
    """
    epochs = len(rows)
    if epochs < PATIENCE or epochs % PATIENCE or (epochs // PATIENCE).bit_count() != 1:
        return []
    return [name for name in rows[-1].dice if not any(row.dice[name] for row in rows)]


def draw_progress(path: Path, rows: Sequence[EpochLog], title: str, loss_name: str) -> None:
    """Draw losses, Dice, and time and learning rate over the epochs as a PNG file.

    Args:
        path: The picture.
        rows: The log, at least one epoch.
        title: Title of the picture.
        loss_name: Name of the loss, for its axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    classes = list(rows[0].dice)
    columns = max(1, min(4, 110 // (max(map(len, classes), default=1) + 8)))
    # Many names go below the curves, which they would cover, into a figure that is so much higher.
    below = len(classes) > MOST_IN_PANEL
    figure = Figure(figsize=(9, 10 + (0.19 * -(-(len(classes) + 1) // columns) if below else 0)), layout="constrained")
    FigureCanvasAgg(figure)
    loss, dice, time = figure.subplots(3, 1, sharex=True)
    epochs = [row.epoch for row in rows]
    marker = "o" if len(rows) < 50 else None
    loss.plot(epochs, [row.train_loss for row in rows], label="training", marker=marker, markersize=3)
    loss.plot(epochs, [row.validation_loss for row in rows], label="validation", marker=marker, markersize=3)
    loss.set_ylabel(f"loss ({loss_name})")
    for name, colour in zip(classes, class_colours(len(classes)), strict=True):
        values = [float("nan") if row.dice[name] is None else row.dice[name] for row in rows]
        dice.plot(
            epochs, values, label=name.replace("$", r"\$"), linewidth=1, marker=marker, markersize=3, color=colour
        )
    dice.plot(epochs, [row.ema_dice for row in rows], label="moving average of the mean", color="black")
    dice.set_ylabel("Dice of validation patches")
    dice.set_ylim(0, 1)
    time.plot(epochs, [row.seconds for row in rows], label="seconds per epoch", marker=marker, markersize=3)
    time.set_ylim(bottom=0)
    time.set_ylabel("seconds per epoch")
    time.set_xlabel("epoch")
    rate = time.twinx()
    rate.plot(epochs, [row.lr for row in rows], label="learning rate", color="tab:green", linestyle="--")
    rate.set_ylabel("learning rate")
    for axis in (loss, dice):
        axis.grid(alpha=0.3)
        if axis is loss or not below:
            axis.legend(loc="best", fontsize="small")
    if below:
        figure.legend(handles=dice.get_lines(), loc="outside lower center", ncols=columns, fontsize="small")
    lines = [*time.get_lines(), *rate.get_lines()]
    time.legend(lines, [str(line.get_label()) for line in lines], loc="best", fontsize="small")
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
