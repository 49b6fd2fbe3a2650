"""The memory that training takes with a finished plan."""

from __future__ import annotations

from umseg.architectures.memory.layers import Device, Precision, TrainingMemory
from umseg.architectures.memory.model import Measure, stages_memory
from umseg.planning.plan import Configuration
from umseg.planning.stages import configuration_stages


def training_memory(
    model: str,
    configuration: Configuration,
    in_channels: int,
    num_classes: int,
    *,
    ssm: bool = True,
    precision: Precision = "mixed",
    device: Device = "cuda",
    measure: Measure | None = None,
) -> TrainingMemory:
    """The expected memory of training a model with a configuration of a plan; see ``stages_memory``."""
    stages = configuration_stages(configuration)
    return stages_memory(
        model,
        stages,
        configuration.batch_size,
        in_channels,
        num_classes,
        ssm=ssm,
        precision=precision,
        device=device,
        measure=measure,
    )
