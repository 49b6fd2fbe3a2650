"""The layers of a U-Net and the memory that each of them takes in training (constants fitted by benchmarks/memory.py).

The model counts the tensors that autograd keeps. Under mixed precision every convolution and every norm keeps its input
in 16 bits, a Mamba layer keeps all its tensors in float32, and the loss keeps three float32 tensors of all classes per
supervised head. On a GPU the Mamba layer and the norm are counted as torch's operators and the scan of mamba-ssm. On a
CPU they are fused kernels, the output of a norm is computed again in the backward pass, and nothing is concatenated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from umseg.architectures.blocks import BLOCKS, Shortcut
from umseg.architectures.memory.layers import FLOAT, INT64, Device, Layer, Training
from umseg.architectures.parameters import (
    MAMBA_EXPANSION,
    MAMBA_STATES,
    convolution_parameters,
    mamba_parameters,
    mamba_rank,
    norm_parameters,
)
from umseg.architectures.stage import Stage
from umseg.architectures.unet import Architecture, Row, Tokens

_WIDEST_FUSED = 64  # inner channels up to which a Mamba block keeps no low-rank step sizes

# Sequences of inner channels that a Mamba block keeps. On both devices these are delta, z, the scan's input and its
# gated output. A CPU adds the convolution's input. A GPU adds that input with its padding, the convolution's output
# before SiLU, the scan's output before the gate, and two more copies of the scan's input for the two projections,
# because time is innermost.
_MAMBA_SEQUENCES: dict[Device, int] = {"cpu": 5, "cuda": 9}
# Tokens per state that the scan keeps; mamba-ssm keeps two numbers per state for every 2048 tokens.
_TOKENS_PER_STATE: dict[Device, int] = {"cpu": 32, "cuda": 1024}
_LANES = 16


@dataclass(frozen=True)
class _Run:
    """A U-Net and how it is trained."""

    training: Training
    architecture: Architecture
    stages: Sequence[Stage]

    @property
    def joins(self) -> bool:
        """Whether upsampled maps and concatenations are never stored (``umseg.models.fused_upsampling``)."""
        return self.training.device == "cpu" and self.architecture.upsampling == "transposed"

    def map_bytes(self, stage: Stage) -> int:
        """Bytes of one feature map of the whole batch."""
        return self.training.map_bytes(stage.features, stage.size)

    def rounded_weights(self, parameters: int) -> int:
        return self.training.rounded_weights(parameters)


def unet_layers(training: Training, architecture: Architecture, stages: Sequence[Stage]) -> Iterator[Layer]:
    """Every layer in the order of the forward pass, the batch first and the losses last."""
    run = _Run(training, architecture, stages)
    yield _batch(run)
    yield from _encoder(run)
    for index in reversed(range(len(stages) - 1)):
        yield from _decoder_stage(run, index)
    if len(stages) == 1:
        yield _head(run, stages[0])
    # Losses are differentiated in reverse order. The head of the lowest resolution has weight 0 unless it is alone.
    for stage in stages[: max(1, len(stages) - 2)]:
        yield training.loss(stage.size)


def _batch(run: _Run) -> Layer:
    """The images in float32, a 16-bit copy for each convolution that reads them, and the label maps of all heads."""
    first = (run.architecture.stem + run.architecture.encoder[0])[0]
    images = run.training.image_bytes(run.stages[0].size, readers=1 if first == "plain" else 2)
    heads = run.stages[: max(1, len(run.stages) - 1)]
    return Layer(kept=images + INT64 * sum(run.training.voxels(stage.size) for stage in heads))


def _encoder(run: _Run) -> Iterator[Layer]:
    architecture, channels = run.architecture, run.training.in_channels
    yield from _blocks(run, run.stages[0], architecture.stem, channels)
    if architecture.stem:
        channels = run.stages[0].features
    skips = (*architecture.skips, False)
    for stage, row, tokens, skip in zip(run.stages, architecture.encoder, architecture.ssm, skips, strict=True):
        yield from _blocks(run, stage, row, channels, stage.stride)
        if tokens:
            yield _mamba(run, stage, tokens)
            # The output of the Mamba layer, which convolutions keep, is freed before its own backward pass.
            yield Layer(kept=run.map_bytes(stage))
        if skip:
            # The concatenation of the skip with the decoder's half is freed in the decoder, but its gradient, of the
            # same size, then waits for the encoder. Without a concatenation only the gradient of the skip waits, after
            # the decoder's maps are freed.
            yield Layer(kept=(0 if run.joins else 2) * run.map_bytes(stage))
        channels = stage.features


def _decoder_stage(run: _Run, index: int) -> Iterator[Layer]:
    stage, below, skip = run.stages[index], run.stages[index + 1], run.architecture.skips[index]
    kernel = below.stride if run.architecture.upsampling == "transposed" else (1,)
    upsampling = convolution_parameters(below.features, stage.features, kernel)
    # Without a skip the blocks keep the upsampled map itself.
    upsampled = 0 if skip else run.map_bytes(stage)
    yield Layer(upsampling, run.rounded_weights(upsampling) + upsampled)
    yield from _blocks(run, stage, run.architecture.decoder[index], (2 if skip else 1) * stage.features)
    yield _head(run, stage, below)


def _blocks(run: _Run, stage: Stage, row: Row, in_channels: int, stride: Sequence[int] = (1,)) -> Iterator[Layer]:
    """A row of blocks, of which the first has the stride. The outputs of all convolutions and norms are kept.

    On a CPU the output of a norm without a residual, the first of a block, is computed again in the backward pass.
    """
    recomputed = 1 if run.training.device == "cpu" else 0
    for index, kind in enumerate(row):
        channels = stage.features if index else in_channels
        block = BLOCKS[kind]
        inner = convolution_parameters(stage.features, stage.features, stage.kernel)
        parameters = convolution_parameters(channels, stage.features, stage.kernel) + (block.convolutions - 1) * inner
        yield Layer(
            parameters + block.convolutions * norm_parameters(stage.features),
            kept=(2 * block.convolutions - recomputed) * run.map_bytes(stage) + run.rounded_weights(parameters),
            passing=block.passing[run.training.device] * run.map_bytes(stage),
        )
        yield _shortcut(run, stage, block.shortcut, channels, strided=index == 0 and math.prod(stride) > 1)


def _shortcut(run: _Run, stage: Stage, kind: Shortcut, channels: int, strided: bool) -> Layer:
    """The shortcut of a block.

    The output of a projection is freed after the sum. A pooled shortcut keeps its pooled map and the input of its norm.
    """
    if kind == "always" or (kind == "where shapes differ" and (strided or channels != stage.features)):
        parameters = convolution_parameters(channels, stage.features, (1,))
        return Layer(parameters, run.rounded_weights(parameters))
    if kind == "pooled" and channels != stage.features:
        weights = channels * stage.features
        pooled = run.training.map_bytes(channels, stage.size) if strided else 0
        kept = pooled + run.map_bytes(stage) + run.rounded_weights(weights)
        return Layer(weights + norm_parameters(stage.features), kept)
    return Layer()


def _mamba(run: _Run, stage: Stage, tokens: Tokens) -> Layer:
    """Layer norm and Mamba block, all in float32.

    The layer keeps per token the layer norm's input (a copy, unless it is float32 already) with two statistics, the
    layer norm's output, the sequences of inner channels, and the scan's B and C; it also keeps the scan's states every
    few tokens. At its peak the backward pass holds the gradients of the scan's input, delta, z, B and C.
    """
    width, length = stage.features, math.prod(stage.size)
    if tokens == "channels":
        width, length = length, width
    inner = MAMBA_EXPANSION * width
    copies = 2 if run.training.precision == "mixed" else 1
    low_rank = mamba_rank(width) if inner > _WIDEST_FUSED else 0
    projections = 2 * MAMBA_STATES
    per_token = copies * width + 2 + _MAMBA_SEQUENCES[run.training.device] * inner + projections + low_rank
    padded = _LANES * math.ceil(inner / _LANES) if run.training.device == "cpu" else inner
    states = math.ceil(length / _TOKENS_PER_STATE[run.training.device]) * padded * MAMBA_STATES
    return Layer(
        mamba_parameters(width),
        kept=FLOAT * run.training.batch_size * (length * per_token + states),
        passing=FLOAT * run.training.batch_size * length * (3 * inner + projections),
    )


def _head(run: _Run, stage: Stage, below: Stage | None = None) -> Layer:
    """The 1x1 convolution to class scores at the end of a decoder stage.

    On a CPU the outputs of the last two blocks are not kept, but both exist at the end of the forward pass, and so does
    the output of the stage below. The backward pass needs about as much for the head's input and its gradient.
    """
    head = run.training.head(convolution_parameters(stage.features, run.training.num_classes, (1,)), stage.size)
    if run.training.device != "cpu":
        return head
    return replace(head, passing=2 * run.map_bytes(stage) + (run.map_bytes(below) if below else 0))
