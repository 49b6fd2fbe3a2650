"""Use another model's plan for a data set, so that its weights fit: the first half of fine-tuning."""

from __future__ import annotations

from pathlib import Path

from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.planning.fingerprint import Fingerprint
from umseg.planning.plan import Plan
from umseg.planning.planner import make_plan

_SOURCE = ("preset", "memory_gb", "for_model", "transpose_forward", "transpose_backward")


def transfer_plan(source: Plan, fingerprint: Fingerprint, description: DatasetDescription, file: Path) -> Plan:
    """The plan of a trained model for other data.

    Spacing, patch, network and normalisation, the CT intensities included, are the model's: its weights expect them.
    What only describes the data is their own.

    Args:
        source: The model's plan.
        fingerprint: Of the data to be planned.
        description: Of the same data.
        file: Where ``source`` comes from, for the error message.

    Raises:
        UserError: The data have another number of channels than the model, or no configuration of the model's fits.
    """
    channels = {len(c.normalization_schemes) for c in source.configurations.values()}
    if channels != {description.num_channels}:
        raise UserError(
            "The plan is made for another number of image channels.",
            file=file,
            found=f"{description.num_channels} channels: {', '.join(description.channel_names.values())}",
            expected=f"{', '.join(map(str, sorted(channels)))} channels, as the other model has",
            remedy="Plan without --like, or choose a model that was trained on such channels.",
        )
    own = make_plan(fingerprint, description)
    fitting = {
        name: configuration
        for name, configuration in source.configurations.items()
        if configuration.dimensions == 2 or any(c.dimensions == 3 for c in own.configurations.values())
    }
    if not fitting:
        raise UserError(
            "The other model's plan has no configuration for these data.",
            file=file,
            found="2-D images, and only 3-D configurations: " + ", ".join(source.configurations),
            expected="a 2-D configuration",
            remedy="Plan without --like, or choose a model that was trained on 2-D images.",
        )
    return own.model_copy(
        update={
            **{name: getattr(source, name) for name in _SOURCE},
            "foreground_intensity_properties_per_channel": source.foreground_intensity_properties_per_channel,
            "configurations": fitting,
        }
    )
