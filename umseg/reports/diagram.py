"""What a picture of a network shows, read off its description: see ``drawing`` for how it is drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from umseg.architectures.monai import BASELINES, UNETR, SegResNet, SwinUNETR
from umseg.architectures.stage import Stage
from umseg.architectures.unet import ARCHITECTURES, BlockKind, Row, Tokens
from umseg.planning.plan import Configuration
from umseg.planning.stages import configuration_stages


class Part(NamedTuple):
    """A line in the box of a stage; ``kind`` gives it its colour: convolution, residual, mamba or attention."""

    kind: str
    text: str


@dataclass(frozen=True)
class Level:
    """One resolution of a network.

    Attributes:
        title: Features and size.
        encoder: What the encoder does there.
        decoder: What the decoder does there; nothing at the lowest resolution.
        down: How the encoder gets there from the level above.
        up: How the decoder gets there from the level below.
        skip: The decoder takes the encoder's features.
        head: The class scores that are made there.
        tap: What the encoder takes from the trunk, where the encoder is no chain of levels but hangs on a transformer.
    """

    title: str
    encoder: tuple[Part, ...]
    decoder: tuple[Part, ...] = ()
    down: str = ""
    up: str = ""
    skip: bool = False
    head: str = ""
    tap: str = ""


@dataclass(frozen=True)
class Diagram:
    """A network from the full resolution down.

    Attributes:
        title: The model and its patch.
        image: What goes in.
        levels: At least one.
        note: What the boxes do not say.
    """

    title: str
    image: str
    levels: tuple[Level, ...]
    note: str


_BLOCKS: dict[BlockKind, Part] = {
    "plain": Part("convolution", "convolution"),
    "residual": Part("residual", "residual block"),
    "projected": Part("residual", "residual block, projected"),
    "pooled": Part("residual", "residual block, pooled shortcut"),
}
_TIMES = "\N{MULTIPLICATION SIGN}"


def make_diagram(model: str, configuration: Configuration, in_channels: int, num_classes: int) -> Diagram:
    """Describe a model's picture.

    Args:
        model: A name of ``umseg.models.MODELS``.
        configuration: Of a plan, with a patch that fits the model (see ``fit_configuration``).
        in_channels: Image channels.
        num_classes: Classes including the background.

    Raises:
        UserError: The model cannot be built on this plan.
    """
    patch = configuration.patch_size
    if model in ARCHITECTURES:
        levels = _unet_levels(model, configuration_stages(configuration), num_classes)
        note = "Skips are concatenated. Under deep supervision every head is trained; prediction takes the topmost."
    else:
        levels, note = _baseline(model, patch, num_classes)
    image = "image, 1 channel" if in_channels == 1 else f"image, {in_channels} channels"
    return Diagram(f"{model}, patch {_size(patch)}", image, levels, note)


def _unet_levels(model: str, stages: Sequence[Stage], num_classes: int) -> tuple[Level, ...]:
    architecture = ARCHITECTURES[model](stages)
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
    """Neighbouring blocks of a kind become one line."""
    parts = []
    for kind, group in itertools.groupby(row):
        block = _BLOCKS[kind]
        parts.append(Part(block.kind, _times(len(list(group)), f"{block.text} {_size(stage.kernel)}")))
    return tuple(parts)


def _mamba(tokens: Tokens, stage: Stage) -> Part:
    voxels = math.prod(stage.size)
    if tokens == "channels":
        return Part("mamba", f"Mamba: {stage.features:,} channels as tokens of {voxels:,}")
    return Part("mamba", f"Mamba: {voxels:,} voxels as tokens of {stage.features:,}")


def _baseline(model: str, patch: Sequence[int], num_classes: int) -> tuple[tuple[Level, ...], str]:
    settings = BASELINES[model].settings
    if isinstance(settings, SegResNet):
        return _segresnet(settings, patch, num_classes), "Skips are added."
    if isinstance(settings, UNETR):
        note = "The transformer reads the image itself. Skips are concatenated."
        return _unetr(settings, patch, num_classes), note
    note = "The residual blocks on the left stand beside the transformer, on the skips, which are concatenated."
    return _swin_unetr(settings, patch, num_classes), note


def _segresnet(settings: SegResNet, patch: Sequence[int], num_classes: int) -> tuple[Level, ...]:
    down, up = settings.blocks_down, settings.blocks_up
    block = f"residual block {_cube(3, patch)}"
    levels = []
    for index, blocks in enumerate(down):
        decoded = index < len(down) - 1
        first = [Part("convolution", f"convolution {_cube(3, patch)}")] if index == 0 else []
        levels.append(
            Level(
                title=_title(settings.init_filters * 2**index, patch, 2**index),
                encoder=(*first, Part("residual", _times(blocks, block))),
                # The settings count from the deepest stage up.
                decoder=(Part("residual", _times(up[-1 - index], block)),) if decoded else (),
                down=f"stride {_cube(2, patch)}" if index else "",
                up=f"convolution {_cube(1, patch)}, linear {_cube(2, patch)}" if decoded else "",
                skip=decoded,
                head=_head(num_classes, patch) if index == 0 else "",
            )
        )
    return tuple(levels)


_VIT_PATCH, _VIT_LAYERS = 16, 12
"""MONAI's vision transformer has 12 layers on patches of 16; its U-Net takes what layers 4, 7 and 10 give."""
_VIT_TAPS = (4, 7, 10)


def _unetr(settings: UNETR, patch: Sequence[int], num_classes: int) -> tuple[Level, ...]:
    block, upsampling = f"residual block {_cube(3, patch)}", f"transposed convolution {_cube(2, patch)}"
    depth = len(_VIT_TAPS)
    levels = []
    for index in range(depth + 1):
        encoder = [Part("residual", _times(1, block))]
        if index:
            encoder = [Part("convolution", _times(1 + depth - index, upsampling))]
        if 0 < index < depth:
            encoder.append(Part("residual", f"{_times(depth - index, block)}, in turn"))
        levels.append(
            Level(
                title=_title(settings.feature_size * 2**index, patch, 2**index),
                encoder=tuple(encoder),
                decoder=(Part("residual", _times(1, block)),),
                up=upsampling,
                skip=True,
                head=_head(num_classes, patch) if index == 0 else "",
                tap=f"layer {_VIT_TAPS[index - 1]}" if index else "",
            )
        )
    tokens = math.prod(size // _VIT_PATCH for size in patch)
    transformer = (
        Part("convolution", f"patches of {_cube(_VIT_PATCH, patch)} embedded"),
        Part("attention", _times(_VIT_LAYERS, f"attention, {settings.num_heads} heads, {tokens:,} tokens")),
    )
    return (*levels, Level(_title(settings.hidden_size, patch, _VIT_PATCH), transformer))


def _swin_unetr(settings: SwinUNETR, patch: Sequence[int], num_classes: int) -> tuple[Level, ...]:
    features, bottom = settings.feature_size, len(settings.depths) + 1
    block = Part("residual", _times(1, f"residual block {_cube(3, patch)}"))
    levels = []
    for index in range(bottom + 1):
        encoder = [block] if index != bottom - 1 else [Part("attention", "the transformer's features")]
        if index == 1:
            encoder.insert(0, Part("convolution", f"patches of {_cube(2, patch)} embedded"))
        down = "from the image" if index == 1 else ""
        if index > 1:
            depth, heads = settings.depths[index - 2], settings.num_heads[index - 2]
            down = _times(depth, f"window attention, {heads} heads; merging {_cube(2, patch)}")
        levels.append(
            Level(
                title=_title(features * 2 ** max(index - 1, 0), patch, 2**index),
                encoder=tuple(encoder),
                decoder=(block,) if index < bottom else (),
                down=down,
                up=f"transposed convolution {_cube(2, patch)}" if index < bottom else "",
                skip=index < bottom,
                head=_head(num_classes, patch) if index == 0 else "",
            )
        )
    return tuple(levels)


def _title(features: int, patch: Sequence[int], divisor: int) -> str:
    return f"{features} features, {_size([size // divisor for size in patch])}"


def _head(num_classes: int, patch: Sequence[int]) -> str:
    return f"{_cube(1, patch)} → {num_classes} classes"


def _times(count: int, text: str) -> str:
    return f"{count} {_TIMES} {text}"


def _cube(size: int, patch: Sequence[int]) -> str:
    return _size([size] * len(patch))


def _size(sizes: Sequence[int]) -> str:
    return _TIMES.join(map(str, sizes))
