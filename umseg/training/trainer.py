"""The training loop."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from umseg.common.errors import UserError
from umseg.models.device import autocast, channels_last, place
from umseg.training import checkpoint
from umseg.training.batches import Batch
from umseg.training.config import TrainingConfig
from umseg.training.log import EpochLog, draw_progress, write_csv
from umseg.training.loss import deep_supervision_loss
from umseg.training.optimizer import build_optimizers, scale_learning_rates
from umseg.training.schedule import polynomial

log = logging.getLogger(__name__)

CLIP = 12.0
EMA = 0.9
SECONDS_BETWEEN_PICTURES = 30.0


@dataclass
class Trainer:
    """Trains one network on one fold.

    Attributes:
        network: With deep supervision, freshly initialised.
        config: All choices.
        batch_dice: From the plan.
        classes: Foreground class name to label value.
        folder: The fold's folder; checkpoints, log and pictures are written here.
        device: Where to compute.
        precision: Number format of the convolutions.
        quiet: No progress bar.
        rows: The log so far.
    """

    network: nn.Module
    config: TrainingConfig
    batch_dice: bool
    classes: dict[str, int]
    folder: Path
    device: torch.device
    precision: torch.dtype
    quiet: bool = False
    rows: list[EpochLog] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.network = place(self.network, self.device)
        self.optimizers = build_optimizers(self.network, self.config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self._last_picture = 0.0

    def resume(self) -> None:
        """Continue at the last finished epoch.

        Raises:
            UserError: The checkpoint is damaged.
        """
        path = self.folder / checkpoint.LATEST
        remedy = "Start this fold anew with --restart."
        state = checkpoint.load_training(path, self.network, self.optimizers, remedy)
        self.rows = [EpochLog.from_json(row, path, remedy) for row in state["log"]]
        self.scaler.load_state_dict(state["scaler"])

    def run(self, batches: Iterator[Batch]) -> None:
        """Train from the first unfinished epoch to the last.

        Args:
            batches: Per epoch the training and then the validation batches.

        Raises:
            UserError: The loss is no longer finite.
        """
        config = self.config
        per_epoch = config.iterations + config.validation_batches
        with tqdm(
            total=config.epochs * per_epoch, initial=len(self.rows) * per_epoch, unit="it", disable=self.quiet
        ) as bar:
            for epoch in range(len(self.rows), config.epochs):
                bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
                row = self._epoch(epoch, batches, bar)
                self.rows.append(row)
                self._save(epoch)
                bar.set_postfix(loss=f"{row.train_loss:.3f}", dice=f"{row.mean_dice:.3f}")
        checkpoint.save_tensors(self.folder / checkpoint.FINAL, self.network.state_dict())

    def _epoch(self, epoch: int, batches: Iterator[Batch], bar: tqdm[None]) -> EpochLog:
        factor = polynomial(epoch, self.config.epochs)
        scale_learning_rates(self.optimizers, factor)
        start = time.perf_counter()
        train_loss = self._train(batches, bar)
        trained = time.perf_counter()
        validation_loss, dice = self._validate(batches, bar)
        present = [value for value in dice.values() if value is not None]
        mean = sum(present) / len(present) if present else 0.0
        ema = EMA * self.rows[-1].ema_dice + (1 - EMA) * mean if self.rows else mean
        return EpochLog(
            epoch=epoch + 1,
            lr=self.optimizers[0].defaults["lr"] * factor,
            train_loss=train_loss,
            validation_loss=validation_loss,
            dice=dice,
            mean_dice=mean,
            ema_dice=ema,
            seconds=time.perf_counter() - start,
            seconds_per_iteration=(trained - start) / self.config.iterations,
        )

    def _train(self, batches: Iterator[Batch], bar: tqdm[None]) -> float:
        """One epoch of training batches; returns the mean loss. Nothing waits for the device before the epoch's end."""
        self.network.train()
        losses = []
        for _ in range(self.config.iterations):
            loss, _, _ = self._loss(next(batches))
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
            self.scaler.update()
            losses.append(loss.detach())
            bar.update()
        return self._mean(losses)

    @torch.no_grad()
    def _validate(self, batches: Iterator[Batch], bar: tqdm[None]) -> tuple[float, dict[str, float | None]]:
        self.network.eval()
        count = max(self.classes.values()) + 1
        confusion = torch.zeros(count * count, dtype=torch.int64, device=self.device)
        losses = []
        for _ in range(self.config.validation_batches):
            loss, output, target = self._loss(next(batches))
            losses.append(loss)
            pairs = (target * count + output.argmax(1)).flatten()
            confusion.scatter_add_(0, pairs, torch.ones_like(pairs))
            bar.update()
        return self._mean(losses), _dice_per_class(confusion.view(count, count).cpu(), self.classes)

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of a batch, and output and target at full resolution."""
        data = channels_last(batch.data.to(self.device, non_blocking=True))
        targets = [target.to(self.device, non_blocking=True).long() for target in batch.targets]
        with autocast(self.device, self.precision):
            outputs = self.network(data)
            # A network with one head has no use for the targets of lower resolutions.
            loss = deep_supervision_loss(outputs, targets[: len(outputs)], self.batch_dice)
        return loss, outputs[0], targets[0]

    def _mean(self, losses: list[Tensor]) -> float:
        mean = torch.stack(losses).mean().item()
        if not torch.isfinite(torch.tensor(mean)):
            raise UserError(
                f"Training diverged in epoch {len(self.rows) + 1}: the loss is not a finite number.",
                file=self.folder,
                found=f"loss {mean}, precision {self.precision}, lr {self.optimizers[0].param_groups[0]['lr']:.3g}",
                remedy="The last checkpoint is kept. Try --precision fp32 or a lower --lr (with --restart or --tag).",
            )
        return mean

    def _save(self, epoch: int) -> None:
        row = self.rows[-1]
        if all(row.ema_dice > earlier.ema_dice for earlier in self.rows[:-1]):
            checkpoint.save_tensors(self.folder / checkpoint.BEST, self.network.state_dict())
        state = {"log": [r.model_dump(mode="json") for r in self.rows], "scaler": self.scaler.state_dict()}
        checkpoint.save_training(self.folder / checkpoint.LATEST, self.network, self.optimizers, state)
        write_csv(self.folder / "log.csv", self.rows)
        if epoch + 1 == self.config.epochs or time.monotonic() - self._last_picture > SECONDS_BETWEEN_PICTURES:
            with contextlib.suppress(ImportError):
                draw_progress(self.folder / "progress.png", self.rows, self.config.model)
            self._last_picture = time.monotonic()


def _dice_per_class(confusion: Tensor, classes: dict[str, int]) -> dict[str, float | None]:
    """2 TP / (2 TP + FP + FN) from counts (reference, prediction); None where neither holds the class."""
    dice: dict[str, float | None] = {}
    for name, value in classes.items():
        total = int(confusion[value].sum() + confusion[:, value].sum())
        dice[name] = 2 * int(confusion[value, value]) / total if total else None
    return dice
