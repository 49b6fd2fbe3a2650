"""The content of the picture of a U-Net, taken from its description; ``drawing`` draws the picture."""

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
    """A line in the box of a stage; its ``kind`` (convolution, residual or mamba) decides its colour."""

    kind: str
    text: str


@dataclass(frozen=True)
class Level:
    """One resolution of a network.

    Attributes:
        title: Text with the number of features and the size.
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
        title: Name of the model and size of its patch.
        image: Label of the input with its channels.
        levels: One or more resolutions, beginning with the full one.
        note: Explanation that stands below the picture.
    """

    title: str
    image: str
    levels: tuple[Level, ...]
    note: str


_TIMES = "\N{MULTIPLICATION SIGN}"


def make_diagram(model: str, configuration: Configuration, in_channels: int, num_classes: int) -> Diagram:
    """The content of a model's picture.

    Args:
        model: Name of a network with a description.
        configuration: Configuration of the plan.
        in_channels: Number of image channels.
        num_classes: Number of classes, including the background.

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
        has_decoder = index < bottom
        levels.append(
            Level(
                title=f"{stage.features} features, {_size(stage.size)}",
                encoder=tuple(encoder),
                decoder=_parts(architecture.decoder[index], stage) if has_decoder else (),
                down=f"stride {_size(stage.stride)}" if index else "",
                up=f"{upsampling} {_size(stages[index + 1].stride)}" if has_decoder else "",
                skip=has_decoder and architecture.skips[index],
                head=_head(num_classes, stage.size) if has_decoder or bottom == 0 else "",
            )
        )
    return tuple(levels)


def _parts(row: Row, stage: Stage) -> tuple[Part, ...]:
    """One line for each group of consecutive blocks of the same kind."""
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
