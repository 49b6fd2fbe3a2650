"""The peak of a training step from the bytes that the layers of a network keep.

A training step keeps tensors in the forward pass and frees them, last first, in the backward pass, while the gradients
of the weights appear. A network is therefore described as a sequence of layers in forward order, each with the bytes
that it leaves behind (``kept``) and the bytes that it needs in addition while it runs forwards or backwards
(``passing``). The peak is the largest sum of three terms: all bytes kept up to a layer, the bytes passing there, and
the gradients of this layer and of all layers after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Precision = Literal["mixed", "fp32"]
Device = Literal["cpu", "cuda"]

CUDA_ALLOWANCE = 2**30
"""Bytes for the CUDA context, cuDNN's workspaces and fragmentation, added to the total on a GPU; an assumption, not
a measurement."""

FLOAT = 4
INT64 = 8
_WEIGHT_AND_MOMENTUM = 2 * FLOAT
_LOSS_KEPT = 3  # softmax, one-hot target, log-softmax
_LOSS_PASSING = 2  # gradients of the log-softmax and of the logits


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes at the peak of a training step.

    Attributes:
        weights_and_optimizer: Bytes of the weights and momentum in float32, and of the gradients that exist at the
            peak.
        activations: Bytes of the batch, of the targets and of the tensors that layers keep for their backward pass.
        workspace: Bytes that the layer at the peak needs in addition.
        allowance: ``CUDA_ALLOWANCE`` on a GPU, otherwise 0.
    """

    weights_and_optimizer: int
    activations: int
    workspace: int
    allowance: int

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return self.weights_and_optimizer + self.activations + self.workspace + self.allowance


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        parameters: Number of weights.
        kept: Bytes that stay allocated until the backward pass of the layer is done.
        passing: Bytes that the layer needs in addition while it runs.
    """

    parameters: int = 0
    kept: int = 0
    passing: int = 0


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        batch_size: Patches per iteration.
        in_channels: Number of image channels.
        num_classes: Number of classes, including the background.
        precision: Number format: ``mixed`` for 16-bit autocast, or ``fp32``.
        device: Device whose operators are counted.
    """

    batch_size: int
    in_channels: int
    num_classes: int
    precision: Precision
    device: Device

    @property
    def bytes_per_value(self) -> int:
        """Bytes per value of the inputs and outputs of convolutions and matrix products."""
        return 2 if self.precision == "mixed" else FLOAT

    def voxels(self, size: Sequence[int]) -> int:
        """Number of voxels of the whole batch."""
        return self.batch_size * math.prod(size)

    def map_bytes(self, channels: int, size: Sequence[int]) -> int:
        """Bytes of one feature map of the whole batch."""
        return channels * self.voxels(size) * self.bytes_per_value

    def rounded_weights(self, parameters: int) -> int:
        """Bytes of autocast's 16-bit copy of the parameters of a convolution or matrix product."""
        return 2 * parameters if self.precision == "mixed" else 0

    def image_bytes(self, size: Sequence[int], readers: int) -> int:
        """Bytes of the images in float32 and of their 16-bit copies, one per convolution that reads them."""
        rounded = 2 * readers if self.precision == "mixed" else 0
        return self.in_channels * self.voxels(size) * (FLOAT + rounded)

    def head(self, parameters: int, size: Sequence[int]) -> Layer:
        """A 1x1 convolution to class scores; in the backward pass the gradient of the logits takes their place."""
        return Layer(parameters, self.map_bytes(self.num_classes, size) + self.rounded_weights(parameters))

    def loss(self, size: Sequence[int]) -> Layer:
        """The Dice and cross-entropy loss in float32."""
        values = FLOAT * self.num_classes * self.voxels(size)
        return Layer(kept=_LOSS_KEPT * values, passing=_LOSS_PASSING * values)


def peak_memory(layers: Iterable[Layer], device: Device) -> TrainingMemory:
    """The memory at the peak of a training step with SGD; see the module.

    Args:
        layers: Layers in the order of the forward pass.
        device: Device of the training; ``cuda`` adds the allowance.
    """
    row = list(layers)
    parameters = sum(layer.parameters for layer in row)
    # The peak is at least what exists after the backward pass: all gradients, and no activations.
    gradients, activations, workspace = FLOAT * parameters, 0, 0
    kept, behind = 0, FLOAT * parameters
    for layer in row:
        kept += layer.kept
        if kept + layer.passing + behind > activations + workspace + gradients:
            gradients, activations, workspace = behind, kept, layer.passing
        behind -= FLOAT * layer.parameters
    return TrainingMemory(
        weights_and_optimizer=_WEIGHT_AND_MOMENTUM * parameters + gradients,
        activations=activations,
        workspace=workspace,
        allowance=CUDA_ALLOWANCE if device == "cuda" else 0,
    )
