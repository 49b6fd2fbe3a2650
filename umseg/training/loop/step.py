"""One step of training: forward pass, loss, backward pass, clipping and update; steps without finite numbers."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from umseg.common.errors import UserError
from umseg.common.memory import keep_freed_memory, return_freed_memory
from umseg.kernels.runtime.memory_format import channels_last
from umseg.models.device import autocast
from umseg.models.mamba import MambaBlock
from umseg.models.registry import network_heads
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.batches import Batch
from umseg.training.loop.processes import even_parts
from umseg.training.loss.segmentation import SegmentationLoss, deep_supervision_weights
from umseg.training.optim.optimizer import step_unless

log = logging.getLogger(__name__)

STEPS_BETWEEN_REPORTS = 10
"""Number of steps whose flags the host asks the device for at once, so that it seldom waits."""
MOST_IN_A_ROW = 5
"""Number of consecutive skipped steps at which training stops."""
MOST_IN_A_ROW_FP16 = 20
"""The same with float16, whose loss scale finds its size by skipped steps."""
LARGE_BLOCK = 16 * 2**20
"""Size in bytes from which a freed block goes back to the system at once: a few activations, which leave the largest
gaps."""


@dataclass
class TrainingStep:
    """Updates a network batch by batch.

    A step whose loss or gradient is not finite is skipped: weights and optimisers stay as they were. The device
    decides that by itself; the host asks for it later and counts.

    Attributes:
        network: The network, in training mode.
        optimizers: Optimisers of the network's parameters.
        loss: Loss of the network's outputs.
        config: The training configuration, for clipping and accumulation.
        device: Device of the network.
        precision: Number format of the convolutions.
        batch_size: Samples of a batch, in all processes together.
    """

    network: nn.Module
    optimizers: list[torch.optim.Optimizer]
    loss: SegmentationLoss
    config: TrainingConfig
    device: torch.device
    precision: torch.dtype
    batch_size: int
    _in_a_row: int = 0
    _unreported: list[tuple[Tensor, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.processes = self.loss.processes
        heads = network_heads(self.network)
        for head, weight in zip(heads, deep_supervision_weights(len(heads)), strict=True):
            # The lowest head under deep supervision has no weight in the loss, and must not be decayed either.
            head.requires_grad_(weight > 0)
        self._returns_memory = self._prepare_memory()
        self.parallel: DistributedDataParallel | None = None
        if self.processes.count > 1:
            # MONAI's networks may have weights that they do not use.
            self.parallel = DistributedDataParallel(self.network, find_unused_parameters=not heads)

    def __call__(self, batch: Batch) -> Tensor:
        """Update the weights with a batch.

        Args:
            batch: A batch on the network's device.

        Returns:
            The loss, a scalar on the device; NaN if the step was skipped.

        Raises:
            UserError: Too many consecutive steps had to be skipped.
        """
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip or math.inf)
        bad = ~(torch.isfinite(norm) & torch.isfinite(loss))
        # `scaler.step` would judge each optimiser by its own gradients, but clipping mixes them.
        for optimizer in self.optimizers:
            step_unless(optimizer, bad.float())
        self.scaler.update()
        self._unreported.append((bad, batch.cases))
        if len(self._unreported) >= STEPS_BETWEEN_REPORTS or self.device.type == "cpu":
            self.report_skipped()
        self._return_memory()
        return torch.where(bad, torch.nan, loss)

    @property
    def synced(self) -> bool:
        """Whether the device has finished the last step, because the host has waited for its result."""
        return not self._unreported

    def _prepare_memory(self) -> bool:
        """Set how the process keeps freed memory on a CPU; returns whether steps have to give it back themselves."""
        if self.device.type != "cpu":
            return False
        # With scans the buffers would be given back and allocated again in every layer.
        scans = any(isinstance(module, MambaBlock) for module in self.network.modules())
        keep_freed_memory(None if scans else LARGE_BLOCK)
        return not scans

    def _return_memory(self) -> None:
        if self._returns_memory:
            return_freed_memory()

    def _backward(self, batch: Batch) -> Tensor:
        """Compute the gradients of a batch, part by part; returns its loss."""
        data, labels = self._inputs(batch)
        parts = self._parts()
        losses = []
        for number, (start, size, all_sizes) in enumerate(parts):
            part = slice(start, start + size)
            last = number == len(parts) - 1
            with contextlib.nullcontext() if last or self.parallel is None else self.parallel.no_sync():
                with autocast(self.device, self.precision):
                    outputs = self._heads(self.parallel or self.network, data[part])
                    # A network with one head needs no targets of lower resolutions.
                    targets = [label[part] for label in labels[: len(outputs)]]
                    loss = all_sizes / self.batch_size * self.loss(outputs, targets, size / all_sizes)
                self._return_memory()  # the gaps that the forward pass leaves
                self.scaler.scale(loss).backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _parts(self) -> list[tuple[int, int, int]]:
        """First sample and size of each part of this process's share, and the size of the part in all processes."""
        shares = [len(share) for share in even_parts(self.batch_size, self.processes.count)]
        count = min(self.config.accumulate, *shares, self.batch_size)
        parts = [even_parts(share, count) for share in shares]
        together = [sum(map(len, column)) for column in zip(*parts, strict=True)]
        return [(p.start, len(p), size) for p, size in zip(parts[self.processes.rank], together, strict=True)]

    def evaluate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the counts of its hard prediction (``Targets.count``); for use without gradients.

        With several processes the loss is that of the whole batch, and the counts are those of this process's share.
        """
        data, labels = self._inputs(batch)
        with autocast(self.device, self.precision):
            outputs = self._heads(self.network, data)
            loss = self.loss(outputs, labels[: len(outputs)], len(data) / self.batch_size)
        return loss, self.loss.targets.count(outputs[0], labels[0])

    @staticmethod
    def _heads(network: nn.Module, images: Tensor) -> Sequence[Tensor]:
        outputs: Tensor | list[Tensor] = network(images)
        return [outputs] if isinstance(outputs, Tensor) else outputs

    def _inputs(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Images and label maps in the format that network and loss take."""
        return channels_last(batch.data), [target.long() for target in batch.targets]

    def report_skipped(self) -> None:
        """Log the steps that were skipped since the last report.

        Raises:
            UserError: Too many consecutive steps were skipped.
        """
        unreported, self._unreported = self._unreported, []
        if not unreported:
            return
        flags = torch.stack([bad for bad, _ in unreported]).tolist()
        for bad, (_, cases) in zip(flags, unreported, strict=True):
            self._in_a_row = self._in_a_row + 1 if bad else 0
            if bad and not self.scaler.is_enabled():
                log.warning(
                    "A step was skipped because the loss or a gradient was not finite; cases: %s", ", ".join(cases)
                )
            if self._in_a_row >= (MOST_IN_A_ROW_FP16 if self.scaler.is_enabled() else MOST_IN_A_ROW):
                raise self._diverged(cases)

    def _diverged(self, cases: tuple[str, ...]) -> UserError:
        rate = self.optimizers[0].param_groups[0]["lr"]
        precision = str(self.precision).removeprefix("torch.")
        return UserError(
            f"Training diverged: the loss or a gradient was not finite in {self._in_a_row} consecutive steps.",
            found=f"precision {precision}, lr {rate:.3g}; cases of the last batch: {', '.join(cases)}",
            expected="finite numbers",
            remedy="The weights are not affected, and the last checkpoint is kept. Try --precision fp32 or a lower "
            "--lr (with --restart or --tag); if the same case is always named, look at it with `umseg inspect`.",
        )
