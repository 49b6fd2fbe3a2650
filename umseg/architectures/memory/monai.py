"""The layers of MONAI's networks (version 1.6) and the memory that each takes in training; see ``layer_memory``.

Counted is what autograd keeps of MONAI's operators at the settings of ``baselines``. Attention is computed in full, not
by a fused kernel: the matrices of every window (SwinUNETR) or of the whole patch (UNETR) are kept. Under mixed
precision convolutions and matrix products keep their inputs in 16 bits. What autocast leaves in float32, or turns into
it, differs between devices: on a GPU group norm, layer norm and softmax compute in float32, and keep copies in it, on a
CPU they take what they get. None of the networks has deep supervision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from umseg.architectures.memory.layers import FLOAT, INT64, Layer, Training
from umseg.architectures.monai import UNETR, SegResNet, SwinUNETR
from umseg.architectures.parameters import norm_parameters

_PASSING = 4  # feature maps that a convolutional block holds at once on its way back, fitted
_ATTENTION_PASSING = 3  # attention matrices in float32: two before the softmax, or two gradients and a rounded one
_MLP_RATIO = 4  # SwinUNETR
_UNETR_TOKEN = 16  # voxels per axis
_UNETR_BLOCKS = 12


def baseline_layers(
    training: Training, settings: SegResNet | UNETR | SwinUNETR, patch: Sequence[int]
) -> Iterator[Layer]:
    """Every layer in the order of the forward pass, the batch first and the loss last.

    Args:
        training: Batch, channels, classes, precision.
        settings: Of the network.
        patch: Voxels per axis, as the network takes it.
    """
    network = _Network(training, tuple(patch))
    if isinstance(settings, SegResNet):
        yield from _segresnet(network, settings)
    elif isinstance(settings, UNETR):
        yield from _unetr(network, settings)
    else:
        yield from _swin_unetr(network, settings)
    yield training.loss(patch)


@dataclass(frozen=True)
class _Network:
    """A network in training on patches of one size."""

    training: Training
    patch: tuple[int, ...]

    @property
    def casts_up(self) -> bool:
        """Norms and softmax keep float32 copies of what they get in 16 bits."""
        return self.training.precision == "mixed" and self.training.device == "cuda"

    @property
    def norm_bytes(self) -> int:
        """Per value that a group norm or layer norm keeps."""
        return FLOAT if self.casts_up else self.training.bytes_per_value

    def size(self, stride: int) -> tuple[int, ...]:
        return tuple(size // stride for size in self.patch)

    def map_bytes(self, channels: int, stride: int) -> int:
        return self.training.map_bytes(channels, self.size(stride))

    def norm_map_bytes(self, channels: int, stride: int) -> int:
        return channels * self.training.voxels(self.size(stride)) * self.norm_bytes

    def weights(self, in_channels: int, out_channels: int, edge: int = 1) -> int:
        """Of a convolution without bias."""
        return in_channels * out_channels * math.prod((edge,) * len(self.patch))

    def batch(self, readers: int) -> Layer:
        """Images and label map; ``readers`` as in ``image_bytes``."""
        training = self.training
        return Layer(kept=training.image_bytes(self.patch, readers) + INT64 * training.voxels(self.patch))

    def convolution(self, parameters: int, kept: int = 0) -> Layer:
        """A convolution or matrix product, transposed or not, that keeps ``kept`` bytes of its input."""
        return Layer(parameters, kept + self.training.rounded_weights(parameters))

    def head(self, channels: int) -> Layer:
        return self.training.head(_linear(channels, self.training.num_classes), self.patch)


def _linear(in_channels: int, out_channels: int) -> int:
    """Weights of a matrix product with bias."""
    return in_channels * out_channels + out_channels


def _segresnet(network: _Network, settings: SegResNet) -> Iterator[Layer]:
    """Residual blocks of group norm, ReLU, convolution; 1x1 convolutions and linear interpolation upwards."""
    channels, stride = settings.init_filters, 1
    yield network.batch(readers=1)
    yield network.convolution(network.weights(network.training.in_channels, channels, 3))
    for level, blocks in enumerate(settings.blocks_down):
        if level:
            yield network.convolution(network.weights(channels, 2 * channels, 3), network.map_bytes(channels, stride))
            channels, stride = 2 * channels, 2 * stride
        for _ in range(blocks):
            yield _preactivation_block(network, channels, stride)
    for blocks in settings.blocks_up:
        yield network.convolution(network.weights(channels, channels // 2), network.map_bytes(channels, stride))
        channels, stride = channels // 2, stride // 2
        for _ in range(blocks):
            yield _preactivation_block(network, channels, stride)
    yield Layer(norm_parameters(channels), _preactivation(network, channels, stride))
    yield network.head(channels)


def _preactivation_block(network: _Network, channels: int, stride: int) -> Layer:
    weights = 2 * network.weights(channels, channels, 3)
    # On a CPU autocast interpolates in float32, so that the block's input is twice as large.
    wide_input = network.training.precision == "mixed" and network.training.device == "cpu"
    return Layer(
        weights + 2 * norm_parameters(channels),
        kept=2 * _preactivation(network, channels, stride) + network.training.rounded_weights(weights),
        passing=(_PASSING + wide_input) * network.norm_map_bytes(channels, stride),
    )


def _preactivation(network: _Network, channels: int, stride: int) -> int:
    """The group norm's input, the ReLU's output, and for the convolution that output rounded."""
    rounded = network.map_bytes(channels, stride) if network.casts_up else 0
    return 2 * network.norm_map_bytes(channels, stride) + rounded


def _unetr(network: _Network, settings: UNETR) -> Iterator[Layer]:
    """A vision transformer whose third, sixth, ninth and last outputs go through convolutions to the decoder."""
    hidden, features, token = settings.hidden_size, settings.feature_size, _UNETR_TOKEN
    tokens = math.prod(network.size(token))
    embedding = network.weights(network.training.in_channels, hidden, token) + hidden
    yield network.batch(readers=3)
    yield network.convolution(embedding)
    yield Layer(tokens * hidden)
    for _ in range(_UNETR_BLOCKS):
        yield from _transformer_block(network, settings)
    yield Layer(norm_parameters(hidden), _stream_bytes(network, hidden))
    yield _residual_block(network, network.training.in_channels, features, 1, own_input=False)
    for level, upsamplings in ((1, 3), (2, 2), (3, 1)):
        yield from _upwards(network, hidden, features * 2**level, upsamplings)
    channels, stride = hidden, token
    for level in reversed(range(4)):
        yield from _decoder(network, channels, features * 2**level, stride)
        channels, stride = features * 2**level, stride // 2
    yield network.head(features)


def _stream_bytes(network: _Network, channels: int) -> int:
    """Tokens in float32, which adding the learnt positions makes of them."""
    return FLOAT * channels * network.training.voxels(network.size(_UNETR_TOKEN))


def _transformer_block(network: _Network, settings: UNETR) -> Iterator[Layer]:
    """Norm, attention of every token to all, norm, perceptron. A third norm, of cross attention, has weights only."""
    hidden, inner = settings.hidden_size, settings.mlp_dim
    tokens = network.training.voxels(network.size(_UNETR_TOKEN))
    row = network.map_bytes(hidden, _UNETR_TOKEN)
    values = settings.num_heads * tokens * math.prod(network.size(_UNETR_TOKEN))
    yield Layer(3 * norm_parameters(hidden), 2 * _stream_bytes(network, hidden))
    # The inputs of both projections, and queries, keys and values.
    yield network.convolution(3 * hidden**2 + _linear(hidden, hidden), 5 * row)
    yield _attention(network, values, network.norm_bytes)
    # The perceptron keeps its input, and what GELU gets and gives.
    weights = _linear(hidden, inner) + _linear(inner, hidden)
    yield network.convolution(weights, row + 2 * network.map_bytes(inner, _UNETR_TOKEN))


def _attention(network: _Network, values: int, softmax_bytes: int) -> Layer:
    """The softmax of all attention matrices, and a rounded copy for the product with the values."""
    bytes_per_value = network.training.bytes_per_value
    rounded = bytes_per_value if softmax_bytes > bytes_per_value else 0
    return Layer(kept=values * (softmax_bytes + rounded), passing=_ATTENTION_PASSING * values * softmax_bytes)


def _upwards(network: _Network, hidden: int, channels: int, upsamplings: int) -> Iterator[Layer]:
    """Transposed convolutions from the tokens' grid, with a residual block after every one but the first."""
    stride = _UNETR_TOKEN
    yield network.convolution(network.weights(hidden, channels, 2), network.map_bytes(hidden, stride))
    for index in range(1, upsamplings):
        stride //= 2
        # Only the first is not followed by a block, which keeps its own output.
        own = network.map_bytes(channels, stride) if index == 1 else 0
        yield network.convolution(network.weights(channels, channels, 2), own)
        yield _residual_block(network, channels, channels, stride // 2)


def _residual_block(
    network: _Network, in_channels: int, channels: int, stride: int, *, own_input: bool = True
) -> Layer:
    """Two convolutions with instance norm, a third in the shortcut where the channels differ; norms have no weights.

    Args:
        network: The network.
        in_channels: Of the input, which is kept unless ``own_input`` is False because it is the image.
        channels: Of the output.
        stride: Of the input and output against the patch.
        own_input: See ``in_channels``.
    """
    projected = in_channels != channels
    weights = network.weights(in_channels, channels, 3) + network.weights(channels, channels, 3)
    weights += network.weights(in_channels, channels) if projected else 0
    # Every norm's input and both activations' output.
    maps = (5 if projected else 4) * network.map_bytes(channels, stride)
    own = network.map_bytes(in_channels, stride) if own_input else 0
    return Layer(
        weights,
        kept=own + maps + network.training.rounded_weights(weights),
        passing=_PASSING * network.map_bytes(channels, stride),
    )


def _decoder(network: _Network, in_channels: int, channels: int, stride: int) -> Iterator[Layer]:
    """A transposed convolution from ``stride`` to half of it, the skip, a residual block on both."""
    yield network.convolution(network.weights(in_channels, channels, 2))
    yield _residual_block(network, 2 * channels, channels, stride // 2)


def _swin_unetr(network: _Network, settings: SwinUNETR) -> Iterator[Layer]:
    """A transformer of shifted windows whose five outputs go through residual blocks to the decoder."""
    features, levels = settings.feature_size, len(settings.depths)
    yield network.batch(readers=3)
    yield network.convolution(network.weights(network.training.in_channels, features, 2) + features)
    for level, (depth, heads) in enumerate(zip(settings.depths, settings.num_heads, strict=True)):
        channels, stride = features * 2**level, 2 ** (level + 1)
        yield _output(network, channels, stride)
        for index in range(depth):
            yield from _swin_block(network, channels, stride, heads, settings.window_size, first=index == 0)
        yield from _merging(network, channels, stride)
    yield _output(network, features * 2**levels, 2 ** (levels + 1))
    yield _residual_block(network, network.training.in_channels, features, 1, own_input=False)
    for level in (*range(levels - 1), levels):
        yield _residual_block(network, features * 2**level, features * 2**level, 2 ** (level + 1))
    for level in reversed(range(levels)):
        yield from _decoder(network, features * 2 ** (level + 1), features * 2**level, 2 ** (level + 2))
    yield from _decoder(network, features, features, 2)
    yield network.head(features)


def _output(network: _Network, channels: int, stride: int) -> Layer:
    """A level's output goes through a layer norm; convolutions read it, and it stays until the decoder is done."""
    normed = network.norm_map_bytes(channels, stride)
    return Layer(kept=normed + _statistics(network, stride) + (normed if network.casts_up else 0))


def _statistics(network: _Network, stride: int) -> int:
    """Mean and deviation of every token."""
    return 2 * network.norm_map_bytes(1, stride)


def _swin_block(
    network: _Network, channels: int, stride: int, heads: int, window: int, *, first: bool
) -> Iterator[Layer]:
    """Norm, attention within windows, norm, perceptron."""
    size = network.size(stride)
    edges = [min(window, edge) for edge in size]
    padded = [edge * math.ceil(length / edge) for edge, length in zip(edges, size, strict=True)]
    tokens = math.prod(edges)
    # The first norm reads what the output's norm keeps already, unless that is a copy.
    norms = (1 if first and not network.casts_up else 2) * network.norm_map_bytes(channels, stride)
    yield Layer(2 * norm_parameters(channels), norms + 2 * _statistics(network, stride))
    projections = _linear(channels, 3 * channels) + _linear(channels, channels)
    # The inputs of both projections, queries, keys and values; the index of the learnt positions.
    kept = 5 * network.training.map_bytes(channels, padded) + INT64 * tokens**2
    yield network.convolution(projections, kept)
    yield Layer((2 * window - 1) ** len(size) * heads)
    # Adding the learnt positions makes float32 of the matrices on every device.
    yield _attention(network, heads * network.training.voxels(padded) * tokens, FLOAT)
    inner = _MLP_RATIO * channels
    weights = _linear(channels, inner) + _linear(inner, channels)
    yield network.convolution(weights, network.map_bytes(channels, stride) + 2 * network.map_bytes(inner, stride))


def _merging(network: _Network, channels: int, stride: int) -> Iterator[Layer]:
    """The tokens of 2 voxels per axis joined, normed and reduced to twice the channels."""
    joined = channels * 2 ** len(network.patch)
    norm = network.norm_map_bytes(joined, 2 * stride) + _statistics(network, 2 * stride)
    yield Layer(norm_parameters(joined), norm)
    yield network.convolution(joined * 2 * channels, network.map_bytes(joined, 2 * stride))
