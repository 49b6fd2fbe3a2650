"""The memory of training a network without a description of its layers, measured on fake tensors.

Fake tensors have shapes but no data: a training step of 25 GB takes a few seconds on a CPU and no memory beyond the
weights of the network, which is built once with real ones. The meter sees every operator of the step and counts the
bytes of all storages that are alive. It does not see memory that an operator allocates and frees within itself.

The figures for ``cuda`` need no GPU either: the operators run on CPU tensors, and autocast follows its rules for a GPU.
Layers of umseg inside a network from another package are counted as they are on a CPU.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import umseg
from umseg.architectures.memory.layers import CUDA_ALLOWANCE, Training, TrainingMemory
from umseg.architectures.options import ModelOptions
from umseg.architectures.spec import ModelSpec
from umseg.architectures.stage import Stage
from umseg.common.errors import UserError
from umseg.common.record import Record
from umseg.kernels.runtime.memory_format import channels_last
from umseg.kernels.runtime.torch_private import DispatchMode, fake_tensors, real_tensors, tensors_in
from umseg.models.device import autocast
from umseg.models.registry import build_from_spec

log = logging.getLogger(__name__)


class MeasuredMemory(Record):
    """``memory.json``: the earlier measurements.

    Attributes:
        peaks: Bytes at the peak of a training step, by a text that names all that they depend on (``_key``).
    """

    schema_version: Literal[1] = 1
    peaks: dict[str, int] = Field(default_factory=dict)


class MemoryMeter:
    """A meter of the memory of training, which remembers its results; see ``umseg.architectures.memory.model``.

    Args:
        file: File in which measurements are kept for later; None keeps them in this object only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._peaks = _remembered(file)

    def __call__(self, spec: ModelSpec, stages: Sequence[Stage], training: Training) -> TrainingMemory:
        """The memory at the peak of a training step with SGD; the measured bytes are all given as activations.

        Args:
            spec: Network to be measured.
            stages: Stages of the plan, with a patch that fits the network.
            training: Batch size, channels, classes, precision and device.

        Raises:
            UserError: The network cannot be built, or does not run on tensors without data.
        """
        key = _key(spec, stages, training)
        if key not in self._peaks:
            patch = " x ".join(map(str, stages[0].size))
            log.info("measuring the memory of %s: patch %s, batch %d", spec.name, patch, training.batch_size)
            self._peaks[key] = measure_peak(spec, stages, training)
            self._save()
        return TrainingMemory(
            weights_and_optimizer=0,
            activations=self._peaks[key],
            workspace=0,
            allowance=CUDA_ALLOWANCE if training.device == "cuda" else 0,
        )

    def _save(self) -> None:
        if self._file is not None:
            # Another process may have measured in the meantime.
            MeasuredMemory(peaks={**_remembered(self._file), **self._peaks}).save(self._file)


def _remembered(file: Path | None) -> dict[str, int]:
    if file is None or not file.exists():
        return {}
    try:
        return dict(MeasuredMemory.load(file, "Remove the file.").peaks)
    except UserError as error:
        log.warning("%s is measured again: %s", file.name, error.problem)
        return {}


def _key(spec: ModelSpec, stages: Sequence[Stage], training: Training) -> str:
    """A readable text that names everything that the measurement depends on."""
    plan = (
        ""
        if not spec.follows_plan
        else "; "
        + ", ".join(
            f"{s.features} {s.stride} {s.kernel} {s.encoder_convs} {s.encoder_blocks} {s.decoder_convs}" for s in stages
        )
    )
    package = f", {spec.package} {_version(spec.package)}" if spec.package else ""
    return (
        f"{spec.name}: patch {'x'.join(map(str, stages[0].size))}, batch {training.batch_size}, "
        f"{training.in_channels} channels, {training.num_classes} classes, {training.precision}, {training.device} "
        f"(umseg {umseg.__version__}, torch {torch.__version__}{package}){plan}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def measure_peak(spec: ModelSpec, stages: Sequence[Stage], training: Training) -> int:
    """Bytes at the peak of a training step with SGD, without the allowance for memory that no operator allocates.

    Arguments and errors are those of ``MemoryMeter``.
    """
    operators = gpu_autocast() if training.device == "cuda" else nullcontext()
    with fake_tensors(allow_real=True), operators, LiveBytes() as memory:
        with real_tensors():
            network = build_from_spec(spec, stages, training.in_channels, training.num_classes, False, ModelOptions())
        try:
            without_data(network)
            _train_one_step(network, stages[0].size, training)
        except Exception as error:  # a network from another package may raise anything on tensors without data
            raise UserError(
                f"The memory of model '{spec.name}' cannot be measured.",
                found=f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}",
                expected="a network that trains on tensors with shapes but no data (torch's fake tensors)",
                remedy="Plan without --for-model, and choose --patch-size and --batch-size by trial.",
            ) from error
    peak: int = memory.peak
    return peak


def _train_one_step(network: nn.Module, patch: Sequence[int], training: Training) -> None:
    """A training step after the first one, in which the momentum and the last output and target already exist."""
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
    momentum = [torch.empty_like(parameter) for parameter in network.parameters()]
    precision = torch.bfloat16 if training.precision == "mixed" else torch.float32
    shape = (training.batch_size, training.num_classes, *patch)
    last = torch.empty(shape, dtype=precision), torch.zeros(training.batch_size, *patch, dtype=torch.int64)
    images = channels_last(torch.randn(training.batch_size, training.in_channels, *patch))
    target = torch.zeros(training.batch_size, *patch, dtype=torch.int64)
    with autocast(torch.device("cpu"), precision):
        logits = network(images)
        loss = _dice_and_cross_entropy(logits, target)
    del last
    loss.backward()
    del momentum  # the step allocates it again when the activations have been freed
    optimizer.step()


def _dice_and_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """A loss that keeps the tensors of the trainer's default loss: softmax, one-hot target, log-softmax, in float32."""
    logits = logits.float()
    probability = torch.softmax(logits, dim=1)
    reference = torch.zeros_like(probability).scatter_(1, target.unsqueeze(1), 1.0)
    axes = (0, *range(2, logits.dim()))
    overlap, sizes = (probability * reference).sum(axes), probability.sum(axes) + reference.sum(axes)
    return F.cross_entropy(logits, target) - (2 * overlap / sizes).mean()


def without_data(network: nn.Module) -> None:
    """Replace parameters and buffers of a network by tensors of the same shapes without data, in ``fake_tensors`` only.

    The weights of convolutions get the memory layout that the trainer gives them.
    """
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            empty = torch.empty(parameter.shape, dtype=parameter.dtype)
            if empty.dim() in (4, 5):
                empty = channels_last(empty)
            setattr(module, name, nn.Parameter(empty, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.zeros(buffer.shape, dtype=buffer.dtype))


class LiveBytes(DispatchMode):
    """A mode that counts the bytes of the storages that operators have allocated and that are still alive.

    Attributes:
        live: Number of bytes alive now.
        peak: Largest number of bytes alive at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator and count the bytes that it allocates."""
        out = func(*args, **(kwargs or {}))
        for tensor in tensors_in(out):
            self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.live -= size


class _GpuAutocast(TorchFunctionMode):
    """Autocast with its rules for a GPU on CPU tensors, for the operators whose rules differ."""

    _FLOAT32 = (F.layer_norm, F.group_norm, F.softmax, torch.softmax, Tensor.softmax)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func not in (*self._FLOAT32, F.interpolate):
            return func(*args, **(kwargs or {}))
        first = args[0]
        if func in self._FLOAT32 and torch.is_autocast_enabled("cpu"):
            first = first.float()
        if func is F.group_norm:
            # On a GPU the group norm supports the default memory layout only.
            first = first.contiguous()
        with torch.autocast("cpu", enabled=False):
            return func(first, *args[1:], **(kwargs or {}))


@contextmanager
def gpu_autocast() -> Iterator[None]:
    """A block in which autocast treats CPU tensors as it would treat those on a GPU."""
    with _GpuAutocast():
        yield
