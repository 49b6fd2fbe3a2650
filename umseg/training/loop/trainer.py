"""The training loop."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from tqdm import tqdm

from umseg.common.errors import UserError
from umseg.common.processes.patience import said_when_slow
from umseg.common.processes.progress import has_terminal
from umseg.models.device import place
from umseg.models.registry import enable_activation_checkpoints
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.batches import Batch
from umseg.training.data.pool import NoBatchError
from umseg.training.loop.step import TrainingStep
from umseg.training.loop.stop import StopRequest
from umseg.training.loss.segmentation import SegmentationLoss
from umseg.training.optim.average import WeightAverage
from umseg.training.optim.optimizer import build_optimizers, scale_learning_rates
from umseg.training.optim.schedule import learning_rate_factor
from umseg.training.saved import checkpoint
from umseg.training.saved.training_state import TrainingState
from umseg.training.watch.log import (
    EpochLog,
    draw_progress,
    epoch_line,
    unlearned_classes,
    write_json_lines,
    write_log_table,
)
from umseg.training.watch.pace import Pace
from umseg.training.watch.tensorboard import TensorBoard
from umseg.workspace import FoldFolder, WeightsName

log = logging.getLogger(__name__)

EMA = 0.9
"""Weight of the earlier value in the moving average of the Dice."""
SECONDS_BETWEEN_PICTURES = 30.0
"""Shortest time between two versions of the picture of the curves."""


@dataclass
class Trainer:
    """Trains one network on one fold.

    Attributes:
        network: The network, freshly initialised.
        config: All choices.
        batch_size: Samples of a batch, in all processes together.
        loss: Loss of the network's outputs.
        folder: The fold's folder, to which checkpoints, log and pictures are written.
        device: Device that trains.
        precision: Number format of the convolutions.
        quiet: Whether the progress bar is hidden.
        tensorboard: Whether the log is also written for TensorBoard.
        preset: Name of the preset that the plan was made with.
        say: Says what happens, on the console and in the log.
        rows: The log so far.
        losses: Losses of the unfinished epoch's iterations; NaN where a step was skipped.
    """

    network: nn.Module
    config: TrainingConfig
    batch_size: int
    loss: SegmentationLoss
    folder: FoldFolder
    device: torch.device
    precision: torch.dtype
    quiet: bool = False
    tensorboard: bool = False
    preset: str = ""
    say: Callable[[str], None] = log.info
    rows: list[EpochLog] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.network = place(self.network, self.device)
        self.processes = self.loss.processes
        self.optimizers = build_optimizers(self.network, self.config)
        self.average = WeightAverage(self.network, self.config.ema) if self.config.ema else None
        self.step = TrainingStep(
            self.network, self.optimizers, self.loss, self.config, self.device, self.precision, self.batch_size
        )
        if self.config.checkpoint_activations:
            enable_activation_checkpoints(self.network, self.config.model)
        if self.config.compile:
            self.network.compile()
        self._last_picture = 0.0
        self._waiting = False

    def resume(self) -> None:
        """Load the state after the last iteration that was saved.

        Raises:
            UserError: The checkpoint is damaged or incomplete, or has more epochs than this run.
        """
        path = self.folder.checkpoint
        remedy = "Train this fold from the beginning with --restart."
        content = checkpoint.load_training(path, self.network, self.optimizers, self.average, remedy)
        state = TrainingState.read(
            content,
            path,
            remedy,
            epochs=self.config.epochs,
            iterations=self.config.iterations,
            classes=self.loss.targets.names,
            scaler=self.step.scaler.state_dict(),
        )
        if state.stepped:
            checkpoint.check_stepped(self.optimizers, path, remedy)
        self.rows = list(state.log)
        self.losses = list(torch.tensor(state.losses, device=self.device))
        self.step.scaler.load_state_dict(dict(state.scaler))

    def restart_average(self) -> None:
        """Begin the average again, with the present weights: they were replaced."""
        if self.average is not None:
            self.average = WeightAverage(self.network, self.config.ema)

    def run(self, batches: Iterator[Batch], stop: StopRequest) -> bool:
        """Train from the first unfinished iteration to the end.

        Args:
            batches: The training and then the validation batches of every epoch, from that iteration on.
            stop: The request to stop, which is checked after every iteration.

        Returns:
            Whether training is complete; False if it was stopped and can be resumed.

        Raises:
            UserError: The loss is no longer finite, or the disk is full.
        """
        config = self.config
        per_epoch = config.iterations + config.validation_batches
        done = len(self.rows) * per_epoch + len(self.losses)
        before = len(self.rows) * config.iterations + len(self.losses), len(self.rows) * config.validation_batches
        self._pace = Pace(config, self.preset, self.device.type == "cpu", before)
        if not self.losses:
            # A run that was killed between an epoch's state and its weights left only the former.
            self._save_best()
        with contextlib.ExitStack() as stack:
            hidden = self.quiet or not self.processes.first or not has_terminal()
            bar = stack.enter_context(tqdm(total=config.epochs * per_epoch, initial=done, unit="it", disable=hidden))
            self._patience = stack.enter_context(said_when_slow(log, self._position))
            board = TensorBoard(self.folder.path, len(self.rows)) if self.tensorboard and self.processes.first else None
            if board is not None:
                stack.callback(board.close)
            for epoch in range(len(self.rows), config.epochs):
                bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
                try:
                    row = self._epoch(epoch, batches, bar, stop)
                except NoBatchError:
                    row = None
                    self._leave_others()
                if row is None:
                    self._save_state()
                    return False
                self.rows.append(row)
                self.losses = []
                self._save(board)
                self.say(epoch_line(row, config.epochs))
                bar.set_postfix(loss=f"{row.train_loss:.3f}", dice=f"{row.mean_dice:.3f}", lr=f"{row.lr:.2g}")
                if epoch + 1 < config.epochs and self._stopped(stop):
                    return False
        self._save_weights("final")
        return True

    def _next(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; whoever makes it says where it stands."""
        self._waiting = True
        batch = next(batches)
        self._waiting = False
        self._patience.restart()
        return batch

    def _position(self) -> str:
        """What the training does, for a message after a minute without progress."""
        if self._waiting:
            return ""
        iteration = min(len(self.losses) + 1, self.config.iterations)
        first = ", which compiles kernels" if len(self.losses) == 0 else ""
        return f"in epoch {len(self.rows) + 1}, iteration {iteration} of {self.config.iterations:,}{first}"

    def _leave_others(self) -> None:
        """End a training of several processes in which this one has no batch, so that the others wait for it."""
        self.step.report_skipped()
        if self.processes.count > 1:
            self._save_state()
            raise UserError(
                "Training was stopped while this process waited for a batch.",
                remedy="The same command resumes from the last checkpoint.",
            )

    def _stopped(self, stop: StopRequest) -> bool:
        """Whether any of the processes has been asked to stop."""
        return self.processes.any(bool(stop))

    def _epoch(self, epoch: int, batches: Iterator[Batch], bar: tqdm[None], stop: StopRequest) -> EpochLog | None:
        """Train and validate for one epoch; None if training was stopped in between."""
        start, first = time.perf_counter(), len(self.losses)
        if not self._train(epoch, batches, bar, stop):
            return None
        losses = torch.stack(self.losses)
        train_loss = self._finite(losses.nanmean())
        trained = time.perf_counter()
        with self._averaged():
            validation = self._validate(batches, bar, stop)
        if validation is None:
            return None
        validation_loss, dice = validation
        present = [value for value in dice.values() if value is not None]
        mean = sum(present) / len(present) if present else 0.0
        return EpochLog(
            epoch=epoch + 1,
            lr=self.optimizers[0].param_groups[0]["lr"],
            train_loss=train_loss,
            validation_loss=validation_loss,
            dice=dice,
            mean_dice=mean,
            ema_dice=EMA * self.rows[-1].ema_dice + (1 - EMA) * mean if self.rows else mean,
            seconds=time.perf_counter() - start,
            seconds_per_iteration=(trained - start) / max(1, self.config.iterations - first),
            skipped_steps=int(losses.isnan().sum()),
        )

    def _train(self, epoch: int, batches: Iterator[Batch], bar: tqdm[None], stop: StopRequest) -> bool:
        """Train on the remaining batches of an epoch; False if training was stopped."""
        config = self.config
        self.network.train()
        while len(self.losses) < config.iterations:
            total = epoch * config.iterations + len(self.losses)
            factor = learning_rate_factor(
                config.schedule,
                epoch,
                config.epochs,
                total,
                power=config.power,
                end=config.lr_end / config.initial_lr,
                warmup=config.warmup,
            )
            scale_learning_rates(self.optimizers, factor)
            self.losses.append(self.step(self._next(batches)))
            if self.average is not None:
                self.average.update()
            bar.update()
            if (expected := self._pace.iteration(self.step.synced)) is not None:
                self.say(expected)
            if self._stopped(stop):
                self.step.report_skipped()
                return False
        self.step.report_skipped()
        return True

    @torch.no_grad()
    def _validate(
        self, batches: Iterator[Batch], bar: tqdm[None], stop: StopRequest
    ) -> tuple[float, dict[str, float | None]] | None:
        """The loss, and the Dice per class over all validation batches together; None if training was stopped."""
        self.network.eval()
        losses, counts = [], []
        for _ in range(self.config.validation_batches):
            loss, count = self.step.evaluate(self._next(batches))
            losses.append(loss)
            counts.append(count)
            bar.update()
            if len(losses) < self.config.validation_batches and self._stopped(stop):
                return None
        count = self.processes.sum_(torch.stack(counts).sum(0))
        return self._finite(torch.stack(losses).mean()), self.loss.targets.dice(count)

    def _averaged(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if self.average is None else self.average.in_network()

    def _finite(self, mean: Tensor) -> float:
        value = mean.item()
        if not math.isfinite(value):
            raise UserError(
                f"Training diverged in epoch {len(self.rows) + 1}: the loss is not a finite number.",
                file=self.folder.path,
                found=f"loss {value}, precision {self.precision}, lr {self.optimizers[0].param_groups[0]['lr']:.3g}",
                remedy="The checkpoint of an earlier epoch is kept. Try --precision fp32 or a lower --lr (with "
                "--restart or --tag).",
            )
        return value

    def _save_state(self) -> None:
        if not self.processes.first:
            return
        state = {
            "log": [row.model_dump(mode="json") for row in self.rows],
            "losses": torch.stack(self.losses).tolist() if self.losses else [],
            "scaler": self.step.scaler.state_dict(),
        }
        checkpoint.save_training(self.folder.checkpoint, self.network, self.optimizers, self.average, state)

    def _save_weights(self, name: WeightsName) -> None:
        if self.processes.first:
            with self._averaged():
                checkpoint.save_tensors(self.folder.weights(name), self.network.state_dict())

    def _save_best(self) -> None:
        """Write the weights of the last epoch, if it is the best one so far."""
        if self.rows and all(self.rows[-1].ema_dice > earlier.ema_dice for earlier in self.rows[:-1]):
            self._save_weights("best")

    def _save(self, board: TensorBoard | None) -> None:
        """Write everything that an epoch changes: weights, state, log and pictures."""
        row = self.rows[-1]
        # The state comes first: weights without it count as a run that cannot be resumed.
        self._save_state()
        self._save_best()
        if not self.processes.first:
            return
        write_log_table(self.folder.log_table, self.rows)
        write_json_lines(self.folder.log_records, self.rows)
        if board is not None:
            board.write(row)
        for name in unlearned_classes(self.rows):
            log.warning(
                "The network has not found class '%s' in %d epochs. Check its labels with `umseg inspect`; a lower "
                "--lr, a higher --oversampling or --optimizer muon may help.",
                name,
                len(self.rows),
            )
        if row.epoch == self.config.epochs or time.monotonic() - self._last_picture > SECONDS_BETWEEN_PICTURES:
            draw_progress(self.folder.progress_picture, self.rows, self.config.model, self.config.loss)
            self._last_picture = time.monotonic()
