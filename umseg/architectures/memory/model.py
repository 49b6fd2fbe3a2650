"""The memory that training takes, for every model (our own account of it; measured by benchmarks/memory.py).

Counted are weights, gradients and momentum of SGD, which is what all models are trained with unless told otherwise
(AdamW has 4 bytes per parameter more), what autograd keeps, and what passes; see ``layer_memory``. What an operator
takes and returns within itself (cuDNN's workspaces) is not counted, nor what the allocator loses to fragments;
``CUDA_ALLOWANCE`` stands for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from umseg.architectures.memory.layers import Device, Layer, Precision, Training, TrainingMemory, peak_memory
from umseg.architectures.memory.monai import baseline_layers
from umseg.architectures.memory.unet import unet_layers
from umseg.architectures.monai import BASELINES, rounded_patch
from umseg.architectures.stage import Stage
from umseg.architectures.unet import ARCHITECTURES
from umseg.common.errors import UserError

KNOWN_MODELS = (*ARCHITECTURES, *BASELINES)


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
        model: One of ``KNOWN_MODELS``. Of a plan, MONAI's networks take the patch alone, rounded up as for training.
        stages: From the full resolution down.
        batch_size: Patches per iteration.
        in_channels: Image channels.
        num_classes: Classes including the background.
        ssm: With the Mamba layers.
        precision: ``mixed`` for 16-bit autocast, or ``fp32``.
        device: Whose operators to count; ``cuda`` means mamba-ssm's scan.

    Raises:
        UserError: The model is not known, or it does not fit the plan.
    """
    training = Training(batch_size, in_channels, num_classes, precision, device)
    return peak_memory(_layers(model, stages, training, ssm), device)


def parameter_count(
    model: str, stages: Sequence[Stage], in_channels: int, num_classes: int, *, ssm: bool = True
) -> int:
    """Number of parameters of a model; arguments as in ``stages_memory``."""
    training = Training(1, in_channels, num_classes, "mixed", "cpu")
    return sum(layer.parameters for layer in _layers(model, stages, training, ssm))


def check_known(model: str) -> None:
    """Refuse a model whose memory is not known.

    Raises:
        UserError: It is none of ``KNOWN_MODELS``.
    """
    if model not in KNOWN_MODELS:
        raise UserError(f"The memory of model '{model}' is not known.", found=model, expected=", ".join(KNOWN_MODELS))


def models_for(stages: Sequence[Stage]) -> tuple[str, ...]:
    """The models that can be built on a plan's stages."""
    models = []
    for model in KNOWN_MODELS:
        with contextlib.suppress(UserError):
            parameter_count(model, stages, 1, 2)
            models.append(model)
    return tuple(models)


def _layers(model: str, stages: Sequence[Stage], training: Training, ssm: bool) -> Iterator[Layer]:
    if model in BASELINES:
        return baseline_layers(training, BASELINES[model].settings, rounded_patch(model, stages[0].size))
    check_known(model)
    architecture = ARCHITECTURES[model](stages)
    return unet_layers(training, architecture if ssm else architecture.without_ssm(), stages)
