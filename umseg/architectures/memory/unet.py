"""The layers of a U-Net and the memory that each of them takes in training (constants fitted by benchmarks/memory.py).

The model follows what autograd keeps: under mixed precision every convolution keeps its input and every norm its input
in 16 bits, a Mamba layer everything in float32, and the loss three float32 tensors of all classes per supervised head.
On a GPU the Mamba layer and the norm are counted as torch's operators and the scan of mamba-ssm. On a CPU they are
fused kernels, the output of a norm is computed again in the backward pass, and nothing is concatenated.
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

# Sequences of inner channels that a Mamba block keeps. Both: delta, z, the scan's input and its gated output. CPU: the
# convolution's input. GPU: that input padded, the convolution's output before SiLU, the scan's output before the gate,
# and the scan's input twice more, copied for the two projections because time is innermost.
_MAMBA_SEQUENCES: dict[Device, int] = {"cpu": 5, "cuda": 9}
# Tokens per kept state of the scan; mamba-ssm keeps two numbers per state and 2048 tokens.
_TOKENS_PER_STATE: dict[Device, int] = {"cpu": 32, "cuda": 1024}
_LANES = 16


@dataclass(frozen=True)
class _Run:
    """A U-Net in training."""

    training: Training
    architecture: Architecture
    stages: Sequence[Stage]

    @property
    def joins(self) -> bool:
        """Whether no upsampled map and no concatenation is made (``umseg.models.fused_upsampling``)."""
        return self.training.device == "cpu" and self.architecture.upsampling == "transposed"

    def map_bytes(self, stage: Stage) -> int:
        """One feature map of the whole batch."""
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
    # Losses are differentiated last first; the head of the lowest resolution has weight 0 unless it is the only one.
    for stage in stages[: max(1, len(stages) - 2)]:
        yield training.loss(stage.size)


def _batch(run: _Run) -> Layer:
    """Images in float32, their rounded copies (one per convolution that reads them) and the label maps of all heads."""
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
            # Its output, which convolutions keep, is gone when the Mamba layer runs backwards.
            yield Layer(kept=run.map_bytes(stage))
        if skip:
            # The concatenation with the decoder's half: freed in the decoder, but then its gradient, of the same size,
            # waits for the encoder. Without it the gradient of the skip waits alone, when the decoder's maps are gone.
            yield Layer(kept=(0 if run.joins else 2) * run.map_bytes(stage))
        channels = stage.features


def _decoder_stage(run: _Run, index: int) -> Iterator[Layer]:
    stage, below, skip = run.stages[index], run.stages[index + 1], run.architecture.skips[index]
    kernel = below.stride if run.architecture.upsampling == "transposed" else (1,)
    upsampling = convolution_parameters(below.features, stage.features, kernel)
    # Without a skip the blocks keep the upsampled map itself.
    own = 0 if skip else run.map_bytes(stage)
    yield Layer(upsampling, run.rounded_weights(upsampling) + own)
    yield from _blocks(run, stage, run.architecture.decoder[index], (2 if skip else 1) * stage.features)
    yield _head(run, stage, below)


def _blocks(run: _Run, stage: Stage, row: Row, in_channels: int, stride: Sequence[int] = (1,)) -> Iterator[Layer]:
    """A row of blocks, the first with the stride. Every convolution's output is kept, and every norm's.

    On a CPU the output of a norm without a residual, the first of a block, is computed again in the backward pass.
    """
    again = 1 if run.training.device == "cpu" else 0
    for index, kind in enumerate(row):
        channels = stage.features if index else in_channels
        block = BLOCKS[kind]
        inner = convolution_parameters(stage.features, stage.features, stage.kernel)
        parameters = convolution_parameters(channels, stage.features, stage.kernel) + (block.convolutions - 1) * inner
        yield Layer(
            parameters + block.convolutions * norm_parameters(stage.features),
            kept=(2 * block.convolutions - again) * run.map_bytes(stage) + run.rounded_weights(parameters),
            passing=block.passing[run.training.device] * run.map_bytes(stage),
        )
        yield _shortcut(run, stage, block.shortcut, channels, strided=index == 0 and math.prod(stride) > 1)


def _shortcut(run: _Run, stage: Stage, kind: Shortcut, channels: int, strided: bool) -> Layer:
    """A projection's output is added and gone; a pooled one's input and norm keep theirs."""
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

    Kept per token are the layer norm's input (a copy, unless it is float32 already) with two statistics and its output,
    the sequences of inner channels, the B and C of the scan, and its states every few tokens. The largest moment of the
    backward pass holds the gradients of the scan's input, delta, z, B and C.
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
    """On a CPU the outputs of the last two blocks are not kept, but both exist at the end of the forward pass.

    So does the output of the stage below. The backward pass needs about as much: the head's input and its gradient.
    """
    head = run.training.head(convolution_parameters(stage.features, run.training.num_classes, (1,)), stage.size)
    if run.training.device != "cpu":
        return head
    return replace(head, passing=2 * run.map_bytes(stage) + (run.map_bytes(below) if below else 0))
