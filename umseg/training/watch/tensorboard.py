"""The log for TensorBoard, an extra."""

from __future__ import annotations

from pathlib import Path

from umseg.common.errors import UserError
from umseg.training.watch.log import EpochLog

FOLDER = "tensorboard"


class TensorBoard:
    """Writes the rows of the log as curves.

    Args:
        folder: The fold's folder; the curves go to ``tensorboard/`` in it.
        epochs: That are trained already: what an interrupted run wrote after them is dropped.

    Raises:
        UserError: The package is not installed.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "--tensorboard needs the package tensorboard.",
                found="it is not installed",
                remedy='Run `pip install "umseg[tensorboard]"`, or leave the option out.',
            ) from error
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=epochs + 1)

    def write(self, row: EpochLog) -> None:
        """Add an epoch."""
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
        """End the file."""
        self._writer.close()
