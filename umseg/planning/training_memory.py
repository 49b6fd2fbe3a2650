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
from umseg.planning.memory import stage_sizes
from umseg.planning.parameters import (
    MAMBA_EXPANSION,
    MAMBA_STATES,
    convolution_parameters,
    mamba_parameters,
    mamba_rank,
    norm_parameters,
)
from umseg.planning.plan import Configuration
from umseg.planning.topology import Topology

Precision = Literal["mixed", "fp32"]
Device = Literal["cpu", "cuda"]
Block = Literal["plain", "residual"]

CUDA_ALLOWANCE = 2**30
"""Bytes for the CUDA context, cuDNN's workspaces and fragments: assumed, not measured, and in the total on a GPU."""

_FLOAT = 4
_INT64 = 8
_BYTES_PER_PARAMETER = 12
_LOSS_KEPT = 3  # softmax, one-hot target, log-softmax
_LOSS_PASSING = 2  # gradients of the log-softmax and of the logits
_WIDEST_FUSED = 128  # inner channels up to which a Mamba block keeps no low-rank step sizes

# Feature maps that the backward pass of a block holds at once, fitted to the peaks of plain and residual networks.
_BLOCK_PASSING: dict[Device, dict[Block, int]] = {
    "cpu": {"plain": 2, "residual": 3},
    "cuda": {"plain": 4, "residual": 4},
}
# Sequences of inner channels that a Mamba block keeps. Both: delta, z, the scan's input and its gated output. CPU: the
# convolution's input. GPU: that input padded, the convolution's output before SiLU, the scan's output before the gate,
# and the scan's input twice more, copied for the two projections because time is innermost.
_MAMBA_SEQUENCES: dict[Device, int] = {"cpu": 5, "cuda": 9}
# Tokens per kept state of the scan; mamba-ssm keeps two numbers per state and 2048 tokens.
_TOKENS_PER_STATE: dict[Device, int] = {"cpu": 32, "cuda": 1024}
_LANES = 16


@dataclass(frozen=True)
class Architecture:
    """What the stages of a U-Net are made of.

    Attributes:
        encoder: Block of the encoder.
        decoder: Block of the decoder.
        encoder_blocks: Blocks per encoder stage; None for the configuration's number of convolutions.
        decoder_blocks: The same for the decoder.
        mamba: Encoder stages that end in a Mamba layer.
    """

    encoder: Block
    decoder: Block
    encoder_blocks: int | None = None
    decoder_blocks: int | None = None
    mamba: Literal["none", "last", "all"] = "none"


ARCHITECTURES = {
    "umamba_enc": Architecture("residual", "residual", 2, 1, mamba="all"),
    "umamba_bot": Architecture("residual", "residual", 2, 1, mamba="last"),
    "nnunet": Architecture("plain", "plain"),
}


@dataclass(frozen=True)
class Stage:
    """One level of a U-Net.

    Attributes:
        features: Channels.
        size: Voxels per axis.
        stride: Stride on entering the stage from the one above.
        kernel: Convolution kernel.
        encoder_convs: Convolutions of a plain encoder stage.
        decoder_convs: Convolutions of a plain decoder stage; unused in the last stage.
    """

    features: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    kernel: tuple[int, ...]
    encoder_convs: int = 2
    decoder_convs: int = 2


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
    ssm: bool
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
        UserError: No architecture is known for the model.
    """
    run = _Run(_look_up(model), stages, batch_size, in_channels, num_classes, ssm, precision, device)
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
    run = _Run(_look_up(model), stages, 1, in_channels, num_classes, ssm, "mixed", "cpu")
    return sum(layer.parameters for layer in _layers(run))


def configuration_stages(configuration: Configuration) -> tuple[Stage, ...]:
    """The stages of a finished plan."""
    topology = Topology(
        configuration.num_pool_per_axis,
        configuration.strides,
        configuration.kernel_sizes,
        configuration.patch_size,
        divisor=tuple(math.prod(column) for column in zip(*configuration.strides, strict=True)),
    )
    return topology_stages(
        topology,
        configuration.features_per_stage,
        configuration.n_conv_per_stage,
        # The last stage has no decoder.
        (*configuration.n_conv_per_stage_decoder[::-1], 0),
    )


def topology_stages(
    topology: Topology,
    features: Sequence[int],
    encoder_convs: Sequence[int] | None = None,
    decoder_convs: Sequence[int] | None = None,
) -> tuple[Stage, ...]:
    """The stages of a topology, with two convolutions each unless told otherwise; all from the full resolution down."""
    twos = [2] * topology.num_stages
    columns = (topology.strides, topology.kernel_sizes, encoder_convs or twos, decoder_convs or twos)
    return tuple(Stage(*values) for values in zip(features, stage_sizes(topology), *columns, strict=True))


def _look_up(model: str) -> Architecture:
    if model not in ARCHITECTURES:
        raise UserError(f"The memory of model '{model}' is not known.", found=model, expected=", ".join(ARCHITECTURES))
    return ARCHITECTURES[model]


def _layers(run: _Run) -> Iterator[_Layer]:
    """Every layer in the order of the forward pass."""
    yield _batch(run)
    yield from _encoder(run)
    for above, below in zip(run.stages[-2::-1], run.stages[:0:-1], strict=True):
        yield from _decoder_stage(run, above, below)
    if len(run.stages) == 1:
        yield _head(run, run.stages[0])
    # Losses are differentiated last first; the head of the lowest resolution has weight 0 unless it is the only one.
    for stage in run.stages[: max(1, len(run.stages) - 2)]:
        yield _loss(run, stage)


def _batch(run: _Run) -> _Layer:
    """Images in float32, their rounded copies (one per convolution that reads them) and the label maps of all heads."""
    readers = 2 if run.architecture.encoder == "residual" else 1
    rounded = 2 * readers if run.precision == "mixed" else 0
    heads = run.stages[: max(1, len(run.stages) - 1)]
    images = run.in_channels * run.voxels(run.stages[0]) * (_FLOAT + rounded)
    return _Layer(kept=images + _INT64 * sum(run.voxels(stage) for stage in heads))


def _encoder(run: _Run) -> Iterator[_Layer]:
    architecture, channels = run.architecture, run.in_channels
    for index, stage in enumerate(run.stages):
        last = index == len(run.stages) - 1
        count = architecture.encoder_blocks or stage.encoder_convs
        yield from _blocks(run, stage, architecture.encoder, count, channels, stage.stride)
        if run.ssm and (architecture.mamba == "all" or (architecture.mamba == "last" and last)):
            yield _mamba(run, stage)
            # Its output, which convolutions keep, is gone when the Mamba layer runs backwards.
            yield _Layer(kept=run.map_bytes(stage))
        if not last:
            # The concatenation with the decoder's half: freed in the decoder, but then its gradient, of the same size,
            # waits for the encoder.
            yield _Layer(kept=2 * run.map_bytes(stage))
        channels = stage.features


def _decoder_stage(run: _Run, stage: Stage, below: Stage) -> Iterator[_Layer]:
    architecture = run.architecture
    upsampling = convolution_parameters(below.features, stage.features, below.stride)
    yield _Layer(upsampling, run.rounded_weights(upsampling))
    count = architecture.decoder_blocks or stage.decoder_convs
    ones = (1,) * len(stage.stride)
    yield from _blocks(run, stage, architecture.decoder, count, 2 * stage.features, ones)
    yield _head(run, stage)


def _blocks(
    run: _Run, stage: Stage, block: Block, count: int, in_channels: int, stride: Sequence[int]
) -> Iterator[_Layer]:
    """A row of blocks, the first with the stride. Every convolution's output is kept, and every norm's."""
    convolutions = 2 if block == "residual" else 1
    for index in range(count):
        channels = stage.features if index else in_channels
        parameters = convolution_parameters(channels, stage.features, stage.kernel)
        if block == "residual":
            parameters += convolution_parameters(stage.features, stage.features, stage.kernel)
            if channels != stage.features or (index == 0 and math.prod(stride) > 1):
                parameters += convolution_parameters(channels, stage.features, (1,))
        yield _Layer(
            parameters + convolutions * norm_parameters(stage.features),
            kept=2 * convolutions * run.map_bytes(stage) + run.rounded_weights(parameters),
            passing=_BLOCK_PASSING[run.device][block] * run.map_bytes(stage),
        )


def _mamba(run: _Run, stage: Stage) -> _Layer:
    """Layer norm and Mamba block, all in float32.

    Kept per token are the layer norm's input (a copy, unless it is float32 already) with two statistics and its output,
    the sequences of inner channels, the B and C of the scan, and its states every few tokens. The largest moment of the
    backward pass holds the gradients of the scan's input, delta, z, B and C.
    """
    channels, inner = stage.features, MAMBA_EXPANSION * stage.features
    copies = 2 if run.precision == "mixed" else 1
    low_rank = mamba_rank(channels) if inner > _WIDEST_FUSED else 0
    projections = 2 * MAMBA_STATES
    per_token = copies * channels + 2 + _MAMBA_SEQUENCES[run.device] * inner + projections + low_rank
    padded = _LANES * math.ceil(inner / _LANES) if run.device == "cpu" else inner
    states = math.ceil(math.prod(stage.size) / _TOKENS_PER_STATE[run.device]) * padded * MAMBA_STATES
    return _Layer(
        mamba_parameters(channels),
        kept=_FLOAT * (run.voxels(stage) * per_token + run.batch_size * states),
        passing=_FLOAT * run.voxels(stage) * (3 * inner + projections),
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
