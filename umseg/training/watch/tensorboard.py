"""The log for TensorBoard, which is an optional dependency."""

from __future__ import annotations

from pathlib import Path

from umseg.common.errors import UserError
from umseg.training.watch.log import EpochLog

FOLDER = "tensorboard"


class TensorBoard:
    """A writer of the log's rows as curves.

    Args:
        folder: The fold's folder; the curves go to ``tensorboard/`` in it.
        epochs: Number of epochs that are already trained; curves that an interrupted run wrote after them are dropped.

    Raises:
        UserError: The package is not installed.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "--tensorboard needs the package tensorboard, which is not installed.",
                remedy='Run `pip install "umseg[tensorboard]"`, or train without --tensorboard.',
            ) from error
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=epochs + 1)

    def write(self, row: EpochLog) -> None:
        """Add the values of an epoch."""
        curves: dict[str, float | None] = {
            "loss/training": row.train_loss,
            "loss/validation": row.validation_loss,
            "dice/mean": row.mean_dice,
            "dice/moving average": row.ema_dice,
            **{f"dice/{name}": value for name, value in row.dice.items()},
            "learning rate": row.lr,
            "seconds per iteration": row.seconds_per_iteration,
        }
        for name, value in curves.items():
            if value is not None:
                self._writer.add_scalar(name, value, row.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
