"""The memory that training takes, for every network (a count of our own, checked by benchmarks/memory.py).

The memory of a described U-Net is counted. The count covers weights, gradients and the momentum of SGD, the default
optimiser of U-Nets (AdamW has 4 bytes per parameter more), the tensors that autograd keeps, and the bytes that a
layer needs while it runs; see ``layers``. It leaves out the memory that an operator allocates and frees within itself
(cuDNN's workspaces) and the loss to fragmentation, for which ``CUDA_ALLOWANCE`` stands.

The memory of any other network is measured. A measurement needs torch and the network itself, which this package does
not import: the caller passes the function that measures (``umseg.models.measured_memory``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

from umseg.architectures.memory.layers import Device, Precision, Training, TrainingMemory, peak_memory
from umseg.architectures.memory.unet import unet_layers
from umseg.architectures.registry import network_spec, network_specs
from umseg.architectures.spec import ModelSpec
from umseg.architectures.stage import Stage, with_patch
from umseg.architectures.unet import Architecture
from umseg.common.errors import UserError


class Measure(Protocol):
    """A function that measures the memory of training a network that has no description."""

    def __call__(self, spec: ModelSpec, stages: Sequence[Stage], training: Training) -> TrainingMemory:
        """The memory at the peak of a training step.

        Args:
            spec: Network to be measured.
            stages: Stages of the plan, with a patch that fits the network.
            training: Batch size, channels, classes, precision and device.

        Raises:
            UserError: The network cannot be built or measured.
        """
        ...


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
    measure: Measure | None = None,
) -> TrainingMemory:
    """The expected memory of training, for the stages of a plan that is still being made.

    Args:
        model: Name of a network in ``NETWORKS``.
        stages: Stages of the plan from the full resolution down. The patch is rounded up as for training where the
            network requires it.
        batch_size: Patches per iteration.
        in_channels: Number of image channels.
        num_classes: Number of classes, including the background.
        ssm: Whether the network has its Mamba layers.
        precision: Number format: ``mixed`` for 16-bit autocast, or ``fp32``.
        device: Device whose operators are counted; ``cuda`` means mamba-ssm's scan.
        measure: Function that measures the networks that have no description.

    Raises:
        UserError: The model is unknown, does not fit the plan, or can only be measured and ``measure`` is None.
    """
    spec = network_spec(model)
    training = Training(batch_size, in_channels, num_classes, precision, device)
    if spec.describe is not None:
        return peak_memory(unet_layers(training, described(spec, stages, ssm=ssm), stages), device)
    if measure is None:
        raise _unmeasured(spec)
    return measure(spec, with_patch(stages, spec.rounded_patch(stages[0].size)), training)


def parameter_count(
    model: str, stages: Sequence[Stage], in_channels: int, num_classes: int, *, ssm: bool = True
) -> int:
    """The number of parameters of a described U-Net; arguments as in ``stages_memory``.

    Raises:
        UserError: The model is unknown, has no description, or does not fit the plan.
    """
    training = Training(1, in_channels, num_classes, "mixed", "cpu")
    architecture = described(network_spec(model), stages, ssm=ssm)
    return sum(layer.parameters for layer in unet_layers(training, architecture, stages))


def described(spec: ModelSpec, stages: Sequence[Stage], *, ssm: bool = True) -> Architecture:
    """The description of a U-Net on a plan's stages, with or without its Mamba layers.

    Raises:
        UserError: The network has no description, or the description does not fit the plan.
    """
    if spec.describe is None:
        raise _unmeasured(spec)
    architecture = spec.describe(stages)
    return architecture if ssm else architecture.without_ssm()


def described_models(stages: Sequence[Stage]) -> tuple[str, ...]:
    """The names of the networks with a description that fits a plan's stages."""
    fitting = []
    for spec in network_specs():
        with contextlib.suppress(UserError):
            described(spec, stages)
            fitting.append(spec.name)
    return tuple(fitting)


def _unmeasured(spec: ModelSpec) -> UserError:
    described_names = (other.name for other in network_specs() if other.describe is not None)
    return UserError(
        f"The layers of model '{spec.name}' are not described, so that its memory has to be measured.",
        found="no function that measures it",
        expected="a model with a description: " + ", ".join(described_names),
        remedy="Run `umseg plan --for-model` or `umseg models`, which measure it; in Python pass "
        "measure=umseg.models.measured_memory.MemoryMeter().",
    )
