"""The memory that training a network takes, for every architecture (our own model; measured by benchmarks/memory.py).

A training step keeps tensors on its way forward and frees them, last first, on its way back. So a network is a row of
layers in forward order, each with the bytes that it leaves behind (``kept``) and the bytes that its backward pass needs
on top (``passing``). The peak is the largest sum of everything kept up to a layer and what is passing there. Weights,
gradients and momentum count all the time, 12 bytes per parameter, although a gradient comes and goes: so the figure is
up to a few percent too high, which is the safe side, most of all for small patches.

The model follows what autograd keeps: under mixed precision every convolution keeps its input and every norm its input
in 16 bits, a Mamba layer everything in float32, and the loss three float32 tensors of all classes per supervised head.
Between devices only the Mamba layer and the norm differ: on a CPU they are fused kernels, on a GPU they are torch's
operators and the scan of mamba-ssm. What an operator takes and returns within itself (cuDNN's workspaces) is not
counted, nor what the allocator loses to fragments; ``CUDA_ALLOWANCE`` stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from umseg.common.errors import UserError
from umseg.planning.architecture import ARCHITECTURES, Architecture, BlockKind, Row, Tokens
from umseg.planning.parameters import (
    MAMBA_EXPANSION,
    MAMBA_STATES,
    convolution_parameters,
    mamba_parameters,
    mamba_rank,
    norm_parameters,
)
from umseg.planning.plan import Configuration
from umseg.planning.stages import Stage, configuration_stages

Precision = Literal["mixed", "fp32"]
Device = Literal["cpu", "cuda"]

CUDA_ALLOWANCE = 2**30
"""Bytes for the CUDA context, cuDNN's workspaces and fragments: assumed, not measured, and in the total on a GPU."""

_FLOAT = 4
_INT64 = 8
_BYTES_PER_PARAMETER = 12
_LOSS_KEPT = 3  # softmax, one-hot target, log-softmax
_LOSS_PASSING = 2  # gradients of the log-softmax and of the logits
_WIDEST_FUSED = 128  # inner channels up to which a Mamba block keeps no low-rank step sizes

# Feature maps that the backward pass of a block holds at once, fitted to the peaks of plain and residual networks.
_PASSING: dict[Device, dict[BlockKind, int]] = {
    "cpu": {"plain": 2, "residual": 3, "projected": 3, "pooled": 3},
    "cuda": {"plain": 4, "residual": 4, "projected": 5, "pooled": 4},
}
# Sequences of inner channels that a Mamba block keeps. Both: delta, z, the scan's input and its gated output. CPU: the
# convolution's input. GPU: that input padded, the convolution's output before SiLU, the scan's output before the gate,
# and the scan's input twice more, copied for the two projections because time is innermost.
_MAMBA_SEQUENCES: dict[Device, int] = {"cpu": 5, "cuda": 9}
# Tokens per kept state of the scan; mamba-ssm keeps two numbers per state and 2048 tokens.
_TOKENS_PER_STATE: dict[Device, int] = {"cpu": 32, "cuda": 1024}
_LANES = 16


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes at the peak of a training step.

    Attributes:
        weights_and_optimizer: Weights, gradients and momentum in float32.
        activations: Batch, targets and what the layers keep for their backward pass.
        workspace: What the backward pass needs on top where the peak is.
        allowance: ``CUDA_ALLOWANCE`` on a GPU.
    """

    weights_and_optimizer: int
    activations: int
    workspace: int
    allowance: int

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return self.weights_and_optimizer + self.activations + self.workspace + self.allowance


@dataclass(frozen=True)
class _Layer:
    parameters: int = 0
    kept: int = 0
    passing: int = 0


@dataclass(frozen=True)
class _Run:
    """How a network is trained."""

    architecture: Architecture
    stages: Sequence[Stage]
    batch_size: int
    in_channels: int
    num_classes: int
    precision: Precision
    device: Device

    @property
    def bytes_per_value(self) -> int:
        return 2 if self.precision == "mixed" else _FLOAT

    def voxels(self, stage: Stage) -> int:
        return self.batch_size * math.prod(stage.size)

    def map_bytes(self, stage: Stage) -> int:
        """One feature map of the whole batch."""
        return stage.features * self.voxels(stage) * self.bytes_per_value

    def rounded_weights(self, parameters: int) -> int:
        """Autocast's 16-bit copy of a convolution's parameters."""
        return 2 * parameters if self.precision == "mixed" else 0


def training_memory(
    model: str,
    configuration: Configuration,
    in_channels: int,
    num_classes: int,
    *,
    ssm: bool = True,
    precision: Precision = "mixed",
    device: Device = "cuda",
) -> TrainingMemory:
    """Expected memory of training a model with SGD and deep supervision; see ``stages_memory``."""
    stages = configuration_stages(configuration)
    return stages_memory(
        model,
        stages,
        configuration.batch_size,
        in_channels,
        num_classes,
        ssm=ssm,
        precision=precision,
        device=device,
    )


def stages_memory(
    model: str,
    stages: Sequence[Stage],
    batch_size: int,
    in_channels: int,
    num_classes: int,
    *,
    ssm: bool = True,
    precision: Precision = "mixed",
    device: Device = "cuda",
) -> TrainingMemory:
    """Expected memory of training, for the stages of a plan that is still being made.

    Args:
        model: A key of ``ARCHITECTURES``.
        stages: From the full resolution down.
        batch_size: Patches per iteration.
        in_channels: Image channels.
        num_classes: Classes including the background.
        ssm: With the Mamba layers.
        precision: ``mixed`` for 16-bit autocast, or ``fp32``.
        device: Whose operators to count; ``cuda`` means mamba-ssm's scan.

    Raises:
        UserError: No architecture is known for the model, or it does not fit the plan.
    """
    run = _Run(_describe(model, stages, ssm), stages, batch_size, in_channels, num_classes, precision, device)
    layers = list(_layers(run))
    kept, activations, workspace = 0, 0, 0
    for layer in layers:
        kept += layer.kept
        if kept + layer.passing > activations + workspace:
            activations, workspace = kept, layer.passing
    return TrainingMemory(
        weights_and_optimizer=_BYTES_PER_PARAMETER * sum(layer.parameters for layer in layers),
        activations=activations,
        workspace=workspace,
        allowance=CUDA_ALLOWANCE if device == "cuda" else 0,
    )


def parameter_count(
    model: str, stages: Sequence[Stage], in_channels: int, num_classes: int, *, ssm: bool = True
) -> int:
    """Number of parameters of a model; arguments as in ``stages_memory``."""
    run = _Run(_describe(model, stages, ssm), stages, 1, in_channels, num_classes, "mixed", "cpu")
    return sum(layer.parameters for layer in _layers(run))


def _describe(model: str, stages: Sequence[Stage], ssm: bool) -> Architecture:
    if model not in ARCHITECTURES:
        raise UserError(f"The memory of model '{model}' is not known.", found=model, expected=", ".join(ARCHITECTURES))
    architecture = ARCHITECTURES[model](stages)
    return architecture if ssm else architecture.without_ssm()


def _layers(run: _Run) -> Iterator[_Layer]:
    """Every layer in the order of the forward pass."""
    yield _batch(run)
    yield from _encoder(run)
    for index in reversed(range(len(run.stages) - 1)):
        yield from _decoder_stage(run, index)
    if len(run.stages) == 1:
        yield _head(run, run.stages[0])
    # Losses are differentiated last first; the head of the lowest resolution has weight 0 unless it is the only one.
    for stage in run.stages[: max(1, len(run.stages) - 2)]:
        yield _loss(run, stage)


def _batch(run: _Run) -> _Layer:
    """Images in float32, their rounded copies (one per convolution that reads them) and the label maps of all heads."""
    first = (run.architecture.stem + run.architecture.encoder[0])[0]
    readers = 1 if first == "plain" else 2
    rounded = 2 * readers if run.precision == "mixed" else 0
    heads = run.stages[: max(1, len(run.stages) - 1)]
    images = run.in_channels * run.voxels(run.stages[0]) * (_FLOAT + rounded)
    return _Layer(kept=images + _INT64 * sum(run.voxels(stage) for stage in heads))


def _encoder(run: _Run) -> Iterator[_Layer]:
    architecture, channels = run.architecture, run.in_channels
    yield from _blocks(run, run.stages[0], architecture.stem, channels)
    if architecture.stem:
        channels = run.stages[0].features
    skips = (*architecture.skips, False)
    for stage, row, tokens, skip in zip(run.stages, architecture.encoder, architecture.ssm, skips, strict=True):
        yield from _blocks(run, stage, row, channels, stage.stride)
        if tokens:
            yield _mamba(run, stage, tokens)
            # Its output, which convolutions keep, is gone when the Mamba layer runs backwards.
            yield _Layer(kept=run.map_bytes(stage))
        if skip:
            # The concatenation with the decoder's half: freed in the decoder, but then its gradient, of the same size,
            # waits for the encoder.
            yield _Layer(kept=2 * run.map_bytes(stage))
        channels = stage.features


def _decoder_stage(run: _Run, index: int) -> Iterator[_Layer]:
    stage, below, skip = run.stages[index], run.stages[index + 1], run.architecture.skips[index]
    kernel = below.stride if run.architecture.upsampling == "transposed" else (1,)
    upsampling = convolution_parameters(below.features, stage.features, kernel)
    # Without a skip the blocks keep the upsampled map itself.
    own = 0 if skip else run.map_bytes(stage)
    yield _Layer(upsampling, run.rounded_weights(upsampling) + own)
    yield from _blocks(run, stage, run.architecture.decoder[index], (2 if skip else 1) * stage.features)
    yield _head(run, stage)


def _blocks(run: _Run, stage: Stage, row: Row, in_channels: int, stride: Sequence[int] = (1,)) -> Iterator[_Layer]:
    """A row of blocks, the first with the stride. Every convolution's output is kept, and every norm's."""
    for index, kind in enumerate(row):
        channels = stage.features if index else in_channels
        convolutions = 1 if kind == "plain" else 2
        parameters = convolution_parameters(channels, stage.features, stage.kernel)
        if kind != "plain":
            parameters += convolution_parameters(stage.features, stage.features, stage.kernel)
        yield _Layer(
            parameters + convolutions * norm_parameters(stage.features),
            kept=2 * convolutions * run.map_bytes(stage) + run.rounded_weights(parameters),
            passing=_PASSING[run.device][kind] * run.map_bytes(stage),
        )
        yield _shortcut(run, stage, kind, channels, strided=index == 0 and math.prod(stride) > 1)


def _shortcut(run: _Run, stage: Stage, kind: BlockKind, channels: int, strided: bool) -> _Layer:
    """A projection's output is added and gone; a pooled one's input and norm keep theirs."""
    if kind == "projected" or (kind == "residual" and (strided or channels != stage.features)):
        parameters = convolution_parameters(channels, stage.features, (1,))
        return _Layer(parameters, run.rounded_weights(parameters))
    if kind == "pooled" and channels != stage.features:
        weights = channels * stage.features
        pooled = channels * run.voxels(stage) * run.bytes_per_value if strided else 0
        kept = pooled + run.map_bytes(stage) + run.rounded_weights(weights)
        return _Layer(weights + norm_parameters(stage.features), kept)
    return _Layer()


def _mamba(run: _Run, stage: Stage, tokens: Tokens) -> _Layer:
    """Layer norm and Mamba block, all in float32.

    Kept per token are the layer norm's input (a copy, unless it is float32 already) with two statistics and its output,
    the sequences of inner channels, the B and C of the scan, and its states every few tokens. The largest moment of the
    backward pass holds the gradients of the scan's input, delta, z, B and C.
    """
    width, length = stage.features, math.prod(stage.size)
    if tokens == "channels":
        width, length = length, width
    inner = MAMBA_EXPANSION * width
    copies = 2 if run.precision == "mixed" else 1
    low_rank = mamba_rank(width) if inner > _WIDEST_FUSED else 0
    projections = 2 * MAMBA_STATES
    per_token = copies * width + 2 + _MAMBA_SEQUENCES[run.device] * inner + projections + low_rank
    padded = _LANES * math.ceil(inner / _LANES) if run.device == "cpu" else inner
    states = math.ceil(length / _TOKENS_PER_STATE[run.device]) * padded * MAMBA_STATES
    return _Layer(
        mamba_parameters(width),
        kept=_FLOAT * run.batch_size * (length * per_token + states),
        passing=_FLOAT * run.batch_size * length * (3 * inner + projections),
    )


def _head(run: _Run, stage: Stage) -> _Layer:
    """A 1x1 convolution; in the backward pass the logits' gradient takes their place."""
    parameters = convolution_parameters(stage.features, run.num_classes, (1,))
    logits = run.num_classes * run.voxels(stage) * run.bytes_per_value
    return _Layer(parameters, kept=logits + run.rounded_weights(parameters))


def _loss(run: _Run, stage: Stage) -> _Layer:
    """Dice and cross-entropy in float32."""
    values = _FLOAT * run.num_classes * run.voxels(stage)
    return _Layer(kept=_LOSS_KEPT * values, passing=_LOSS_PASSING * values)
