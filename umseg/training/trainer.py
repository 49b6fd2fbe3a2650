"""The training loop."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from umseg.common.errors import UserError
from umseg.models.device import place
from umseg.models.registry import enable_activation_checkpoints
from umseg.training import checkpoint
from umseg.training.batches import Batch
from umseg.training.config import TrainingConfig
from umseg.training.log import EpochLog, draw_progress, unlearned_classes, write_csv, write_json_lines
from umseg.training.loss import SegmentationLoss
from umseg.training.optimizer import build_optimizers, scale_learning_rates
from umseg.training.schedule import learning_rate_factor
from umseg.training.step import TrainingStep
from umseg.training.stop import StopRequest

log = logging.getLogger(__name__)

EMA = 0.9
SECONDS_BETWEEN_PICTURES = 30.0


@dataclass
class Trainer:
    """Trains one network on one fold.

    Attributes:
        network: Freshly initialised.
        config: All choices.
        loss: Of outputs and label maps.
        folder: The fold's folder; checkpoints, log and pictures are written here.
        device: Where to compute.
        precision: Number format of the convolutions.
        quiet: No progress bar.
        rows: The log so far.
        losses: Of the unfinished epoch's iterations.
    """

    network: nn.Module
    config: TrainingConfig
    loss: SegmentationLoss
    folder: Path
    device: torch.device
    precision: torch.dtype
    quiet: bool = False
    rows: list[EpochLog] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.network = place(self.network, self.device)
        self.optimizers = build_optimizers(self.network, self.config)
        self.step = TrainingStep(self.network, self.optimizers, self.loss, self.config, self.device, self.precision)
        if self.config.checkpoint_activations:
            enable_activation_checkpoints(self.network, self.config.model)
        if self.config.compile:
            self.network.compile()
        self._last_picture = 0.0

    def resume(self) -> None:
        """Continue after the last iteration that was saved.

        Raises:
            UserError: The checkpoint is damaged.
        """
        path = self.folder / checkpoint.LATEST
        remedy = "Start this fold anew with --restart."
        state = checkpoint.load_training(path, self.network, self.optimizers, remedy)
        self.rows = [EpochLog.from_json(row, path, remedy) for row in state["log"]]
        self.losses = list(torch.tensor(state.get("losses", []), device=self.device))
        self.step.scaler.load_state_dict(state["scaler"])

    def run(self, batches: Iterator[Batch], stop: StopRequest) -> bool:
        """Train from the first unfinished iteration to the end.

        Args:
            batches: Per epoch the training and then the validation batches, from that iteration on.
            stop: Asked after every iteration.

        Returns:
            Whether training is complete; False if it was stopped and can be continued.

        Raises:
            UserError: The loss is no longer finite.
        """
        config = self.config
        per_epoch = config.iterations + config.validation_batches
        done = len(self.rows) * per_epoch + len(self.losses)
        with tqdm(total=config.epochs * per_epoch, initial=done, unit="it", disable=self.quiet) as bar:
            for epoch in range(len(self.rows), config.epochs):
                bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
                row = self._epoch(epoch, batches, bar, stop)
                if row is None:
                    self._save_state()
                    return False
                self.rows.append(row)
                self.losses = []
                self._save(epoch)
                bar.set_postfix(loss=f"{row.train_loss:.3f}", dice=f"{row.mean_dice:.3f}", lr=f"{row.lr:.2g}")
                if stop and epoch + 1 < config.epochs:
                    return False
        checkpoint.save_tensors(self.folder / checkpoint.FINAL, self.network.state_dict())
        return True

    def _epoch(self, epoch: int, batches: Iterator[Batch], bar: tqdm[None], stop: StopRequest) -> EpochLog | None:
        """Train and validate; None if it was stopped in between."""
        start, begun, skipped = time.perf_counter(), len(self.losses), self.step.skipped
        if not self._train(epoch, batches, bar, stop):
            return None
        train_loss = self._mean(self.losses)
        trained = time.perf_counter()
        validation_loss, dice = self._validate(batches, bar)
        present = [value for value in dice.values() if value is not None]
        mean = sum(present) / len(present) if present else 0.0
        ema = EMA * self.rows[-1].ema_dice + (1 - EMA) * mean if self.rows else mean
        return EpochLog(
            epoch=epoch + 1,
            lr=self.optimizers[0].param_groups[0]["lr"],
            train_loss=train_loss,
            validation_loss=validation_loss,
            dice=dice,
            mean_dice=mean,
            ema_dice=ema,
            seconds=time.perf_counter() - start,
            seconds_per_iteration=(trained - start) / max(1, self.config.iterations - begun),
            skipped_steps=self.step.skipped - skipped,
        )

    def _train(self, epoch: int, batches: Iterator[Batch], bar: tqdm[None], stop: StopRequest) -> bool:
        """The rest of an epoch's training batches; False if it was stopped before the last."""
        config = self.config
        self.network.train()
        while len(self.losses) < config.iterations:
            total = epoch * config.iterations + len(self.losses)
            factor = learning_rate_factor(config.schedule, epoch, config.epochs, total, config.warmup)
            scale_learning_rates(self.optimizers, factor)
            self.losses.append(self.step(next(batches)))
            bar.update()
            if stop and len(self.losses) < config.iterations:
                return False
        self.step.look()
        return True

    @torch.no_grad()
    def _validate(self, batches: Iterator[Batch], bar: tqdm[None]) -> tuple[float, dict[str, float | None]]:
        self.network.eval()
        losses, counts = [], []
        for _ in range(self.config.validation_batches):
            loss, count = self.step.evaluate(next(batches))
            losses.append(loss)
            counts.append(count)
            bar.update()
        return self._mean(losses), self.loss.targets.dice(torch.stack(counts).sum(0))

    def _mean(self, losses: list[Tensor]) -> float:
        """Mean over the steps that were not left out."""
        mean = torch.stack(losses).nanmean().item()
        if not math.isfinite(mean):
            raise UserError(
                f"Training diverged in epoch {len(self.rows) + 1}: the loss is not a finite number.",
                file=self.folder,
                found=f"loss {mean}, precision {self.precision}, lr {self.optimizers[0].param_groups[0]['lr']:.3g}",
                remedy="The last checkpoint is kept. Try --precision fp32 or a lower --lr (with --restart or --tag).",
            )
        return mean

    def _save_state(self) -> None:
        state = {
            "log": [row.model_dump(mode="json") for row in self.rows],
            "losses": torch.stack(self.losses).tolist() if self.losses else [],
            "scaler": self.step.scaler.state_dict(),
        }
        checkpoint.save_training(self.folder / checkpoint.LATEST, self.network, self.optimizers, state)

    def _save(self, epoch: int) -> None:
        row = self.rows[-1]
        if all(row.ema_dice > earlier.ema_dice for earlier in self.rows[:-1]):
            checkpoint.save_tensors(self.folder / checkpoint.BEST, self.network.state_dict())
        self._save_state()
        write_csv(self.folder / "log.csv", self.rows)
        write_json_lines(self.folder / "log.jsonl", self.rows)
        for name in unlearned_classes(self.rows):
            log.warning(
                "class '%s' is still not found after %d epochs: check its labels with `umseg inspect`; a lower --lr, "
                "a higher --oversampling or --optimizer adamw may help",
                name,
                len(self.rows),
            )
        if epoch + 1 == self.config.epochs or time.monotonic() - self._last_picture > SECONDS_BETWEEN_PICTURES:
            with contextlib.suppress(ImportError):
                draw_progress(self.folder / "progress.png", self.rows, self.config.model)
            self._last_picture = time.monotonic()
