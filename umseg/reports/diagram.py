"""What the picture of a U-Net shows, read off its description; ``drawing`` draws it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from umseg.architectures.blocks import BLOCKS
from umseg.architectures.memory.model import described
from umseg.architectures.registry import network_spec
from umseg.architectures.stage import Stage
from umseg.architectures.unet import Architecture, Row, Tokens
from umseg.planning.plan import Configuration
from umseg.planning.stages import configuration_stages


class Part(NamedTuple):
    """A line in the box of a stage; ``kind`` gives it its colour: convolution, residual or mamba."""

    kind: str
    text: str


@dataclass(frozen=True)
class Level:
    """One resolution of a network.

    Attributes:
        title: Features and size.
        encoder: Blocks of the encoder stage.
        decoder: Blocks of the decoder stage; empty at the lowest resolution.
        down: Label of the arrow from the encoder stage above.
        up: Label of the arrow from the decoder stage below.
        skip: Whether the decoder takes the encoder's features.
        head: Label of the box of class scores; empty where there is none.
    """

    title: str
    encoder: tuple[Part, ...]
    decoder: tuple[Part, ...] = ()
    down: str = ""
    up: str = ""
    skip: bool = False
    head: str = ""


@dataclass(frozen=True)
class Diagram:
    """A U-Net from the full resolution down.

    Attributes:
        title: The model and its patch.
        image: The input and its channels.
        levels: One or more resolutions, the full one first.
        note: Explanation below the picture.
    """

    title: str
    image: str
    levels: tuple[Level, ...]
    note: str


_TIMES = "\N{MULTIPLICATION SIGN}"


def make_diagram(model: str, configuration: Configuration, in_channels: int, num_classes: int) -> Diagram:
    """Describe a model's picture.

    Args:
        model: A network with a description, by its name.
        configuration: The plan's configuration.
        in_channels: Image channels.
        num_classes: Classes including the background.

    Raises:
        UserError: The model has no description, or cannot be built on this plan.
    """
    stages = configuration_stages(configuration)
    architecture = described(network_spec(model), stages)
    image = "image, 1 channel" if in_channels == 1 else f"image, {in_channels} channels"
    return Diagram(
        title=f"{model}, patch {_size(configuration.patch_size)}",
        image=image,
        levels=_levels(architecture, stages, num_classes),
        note="Skips are concatenated. Under deep supervision every head is trained; prediction takes the topmost.",
    )


def _levels(architecture: Architecture, stages: Sequence[Stage], num_classes: int) -> tuple[Level, ...]:
    pointwise, bottom = _cube(1, stages[0].size), len(stages) - 1
    transposed = architecture.upsampling == "transposed"
    upsampling = "transposed convolution" if transposed else f"convolution {pointwise}, nearest"
    levels = []
    for index, (stage, row, tokens) in enumerate(zip(stages, architecture.encoder, architecture.ssm, strict=True)):
        stem = [part._replace(text=f"stem: {part.text}") for part in _parts(architecture.stem, stage)]
        encoder = [*(stem if index == 0 else []), *_parts(row, stage), *([_mamba(tokens, stage)] if tokens else [])]
        decoded = index < bottom
        levels.append(
            Level(
                title=f"{stage.features} features, {_size(stage.size)}",
                encoder=tuple(encoder),
                decoder=_parts(architecture.decoder[index], stage) if decoded else (),
                down=f"stride {_size(stage.stride)}" if index else "",
                up=f"{upsampling} {_size(stages[index + 1].stride)}" if decoded else "",
                skip=decoded and architecture.skips[index],
                head=_head(num_classes, stage.size) if decoded or bottom == 0 else "",
            )
        )
    return tuple(levels)


def _parts(row: Row, stage: Stage) -> tuple[Part, ...]:
    """One line for each run of blocks of a kind."""
    parts = []
    for kind, group in itertools.groupby(row):
        block = BLOCKS[kind]
        text = _times(len(list(group)), f"{block.title} {_size(stage.kernel)}")
        parts.append(Part("residual" if block.is_residual else "convolution", text))
    return tuple(parts)


def _mamba(tokens: Tokens, stage: Stage) -> Part:
    voxels = math.prod(stage.size)
    if tokens == "channels":
        return Part("mamba", f"Mamba: {stage.features:,} channels as tokens of {voxels:,}")
    return Part("mamba", f"Mamba: {voxels:,} voxels as tokens of {stage.features:,}")


def _head(num_classes: int, patch: Sequence[int]) -> str:
    return f"{_cube(1, patch)} → {num_classes} classes"


def _times(count: int, text: str) -> str:
    return f"{count} {_TIMES} {text}"


def _cube(size: int, patch: Sequence[int]) -> str:
    return _size([size] * len(patch))


def _size(sizes: Sequence[int]) -> str:
    return _TIMES.join(map(str, sizes))
