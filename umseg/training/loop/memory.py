"""The memory that a training needs at least, compared with what there is before anything is allocated."""

from __future__ import annotations

import logging
import math

import torch

from umseg.architectures.memory.layers import Precision
from umseg.architectures.memory.model import parameter_count
from umseg.architectures.registry import network_spec
from umseg.common.memory import available_memory, memory_text, require_memory
from umseg.common.text import by
from umseg.models.card import ModelCard
from umseg.planning.stages import configuration_stages
from umseg.planning.training_memory import training_memory
from umseg.training.config.training_config import TrainingConfig
from umseg.training.loop.processes import Processes

log = logging.getLogger(__name__)

REMEDY = (
    "Train with a smaller --batch-size or --patch-size, or compute a batch in parts with --accumulate; or plan smaller "
    "patches with `umseg plan --memory-gb`."
)
_CERTAIN_SHARE = 0.5
"""Share of the expected activations that a step certainly needs. The expectation is off by 6 % at most
(docs/memory.md)."""
_FLOAT = 4
_LABEL = 2


def check_training_memory(
    card: ModelCard,
    config: TrainingConfig,
    device: torch.device,
    precision: torch.dtype,
    processes: Processes,
    available: int | None = None,
) -> None:
    """Refuse a training that certainly needs more memory than there is, and warn of one that probably does.

    Args:
        card: Network, patch and batch size.
        config: Training options.
        device: Device that trains.
        precision: Number format of the convolutions.
        processes: This process and those that share the batch.
        available: Bytes that can be had on the device; None asks it.

    Raises:
        UserError: The training cannot fit.
    """
    limit = _available(device) if available is None else available
    batch, patch = card.configuration.batch_size, card.configuration.patch_size
    found = f"batch size {batch}, patch {by(patch)}, features {by(card.configuration.features_per_stage)}"
    certain, expected = _needed(card, config, device, precision, processes)
    require_memory(certain, f"Training {card.model}", found=found, remedy=REMEDY, available=limit)
    if expected > limit:
        log.warning(
            "Training %s is expected to need about %s of memory; %s are available on %s. %s",
            card.model,
            memory_text(expected),
            memory_text(limit),
            "this machine" if device.type == "cpu" else device,
            REMEDY,
        )


def _needed(
    card: ModelCard, config: TrainingConfig, device: torch.device, precision: torch.dtype, processes: Processes
) -> tuple[int, int]:
    """The bytes that this process certainly needs, and those that it is expected to need; 0 where that is unknown."""
    configuration, dataset = card.configuration, card.dataset
    channels = configuration.input_channels(dataset)
    share = -(-configuration.batch_size // processes.count)
    part = -(-share // config.accumulate)
    voxels = math.prod(configuration.patch_size)
    # The images and label maps of the batch, and the logits of the part that is computed at once.
    certain = voxels * (share * (_FLOAT * channels + _LABEL) + _FLOAT * part * dataset.num_classes)
    if network_spec(card.model).describe is None:
        return certain, 0
    ssm = card.options.ssm
    parameters = parameter_count(
        card.model, configuration_stages(configuration), channels, dataset.num_classes, ssm=ssm
    )
    # Weights and gradients.
    certain += 2 * _FLOAT * parameters
    number: Precision = "fp32" if precision == torch.float32 else "mixed"
    memory = training_memory(
        card.model,
        configuration.model_copy(update={"batch_size": part}),
        channels,
        dataset.num_classes,
        ssm=ssm,
        precision=number,
        device="cuda" if device.type == "cuda" else "cpu",
    )
    if config.checkpoint_activations or config.compile:
        # Fewer activations are kept than are counted.
        return certain, 0
    activations = math.floor(_CERTAIN_SHARE * memory.activations)
    return max(certain, 2 * _FLOAT * parameters + activations), memory.total


def _available(device: torch.device) -> int:
    """Bytes of a CUDA device, of which other programs may use a part now; otherwise those that this machine has."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return available_memory()
