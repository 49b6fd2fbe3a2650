"""The plan of another model, adapted to a data set so that the model's weights fit: the first step of fine-tuning."""

from __future__ import annotations

from pathlib import Path

from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.planning.fingerprint import Fingerprint
from umseg.planning.plan import Plan
from umseg.planning.planner import make_plan

_SOURCE = ("preset", "memory_gb", "for_model", "transpose_forward", "transpose_backward")


def transfer_plan(source: Plan, fingerprint: Fingerprint, description: DatasetDescription, file: Path) -> Plan:
    """The plan of a trained model, adapted to other data.

    Spacing, patch, network and normalisation, including the CT intensities, are those of the model, because its weights
    expect them. Fields that only describe the data are those of the data.

    Args:
        source: Plan of the model.
        fingerprint: Fingerprint of the data to plan for.
        description: Description of the same data.
        file: File of ``source``, for the error message.

    Raises:
        UserError: The data and the model differ in their number of channels, or no configuration of the model fits.
    """
    channels = {len(c.normalization_schemes) for c in source.configurations.values()}
    if channels != {description.num_channels}:
        raise UserError(
            "The other model's plan is for a different number of image channels.",
            file=file,
            found=f"{description.num_channels} channels: {', '.join(description.channel_names.values())}",
            expected=f"{', '.join(map(str, sorted(channels)))} channels, as the other model has",
            remedy="Choose a model that was trained on such channels; or plan without --like but with the same sizes ("
            f"{_options(source)}): `umseg train --init-from` then takes over all weights but the first convolution's.",
        )
    data_plan = make_plan(fingerprint, description)
    fitting = {
        name: configuration
        for name, configuration in source.configurations.items()
        if configuration.dimensions == 2 or any(c.dimensions == 3 for c in data_plan.configurations.values())
    }
    if not fitting:
        raise UserError(
            "The other model's plan has no configuration for these data.",
            file=file,
            found="2-D images, and only 3-D configurations: " + ", ".join(source.configurations),
            expected="a 2-D configuration",
            remedy="Plan without --like, or choose a model that was trained on 2-D images.",
        )
    return data_plan.model_copy(
        update={
            **{name: getattr(source, name) for name in _SOURCE},
            "foreground_intensity_properties_per_channel": source.foreground_intensity_properties_per_channel,
            "configurations": fitting,
        }
    )


def _options(source: Plan) -> str:
    """The options that lead to a network of the same sizes."""
    configuration = source.configurations[source.default_configuration]
    patch = ",".join(map(str, configuration.patch_size))
    return f"--preset {source.preset} --patch-size {patch} --batch-size {configuration.batch_size}"
