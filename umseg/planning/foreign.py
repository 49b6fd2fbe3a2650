"""Plans of nnU-Net v2 and of the released U-Mamba (``plans.json``, ``nnUNetPlans.json``), read as plans of umseg."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from umseg.common.errors import UserError
from umseg.common.json_file import read_json
from umseg.common.record import invalid
from umseg.common.text import printable
from umseg.planning.consistency import IMAGE_FIELDS, MOST_CONFIGURATIONS, MOST_STAGES
from umseg.planning.intensity import IntensityStatistics
from umseg.planning.plan import Plan

_REMEDY = "Give the folder of a trained nnU-Net v2 or U-Mamba model; its plans.json is nnU-Net v2's."
_PLAN_FIELDS = (
    "dataset_name",
    "original_median_spacing_after_transp",
    "original_median_shape_after_transp",
    "transpose_forward",
    "transpose_backward",
)
_FIELDS = (
    "spacing",
    "median_image_size_in_voxels",
    "patch_size",
    "batch_size",
    "normalization_schemes",
    "use_mask_for_norm",
    "batch_dice",
)
_OPTIONAL = ("previous_stage", "next_stage")


def read_foreign_plan(path: Path) -> Plan:
    """Read a plan of nnU-Net v2, in its current form or in that of its first versions, which U-Mamba uses.

    Raises:
        UserError: The file is missing or is not a plan of nnU-Net v2.
    """
    content = read_json(path, _REMEDY, Plan.most_bytes)
    try:
        return Plan.model_validate(_converted(content))
    except ValidationError as error:
        raise invalid(f"{path.name} is not a valid plan", error, file=path, remedy=_REMEDY) from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        missing = f"no field {printable(str(error))}" if isinstance(error, KeyError) else printable(str(error))
        raise UserError(
            f"{path.name} is not a plan of nnU-Net v2.", file=path, found=missing, remedy=_REMEDY
        ) from error


def _converted(content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the plan in umseg's terms, not yet checked."""
    entries = content["configurations"]
    if not isinstance(entries, Mapping):
        raise TypeError("configurations that are no object")
    if len(entries) > MOST_CONFIGURATIONS:
        raise ValueError(f"{len(entries)} configurations, more than {MOST_CONFIGURATIONS}")
    configurations = {name: _configuration(_resolved(entries, name)) for name in entries}
    for configuration in configurations.values():
        # A configuration may take the network of another one and have images of its own.
        parent = configurations.get(configuration["inherits_from"])
        if parent is not None and any(configuration[field] != parent[field] for field in IMAGE_FIELDS):
            configuration["inherits_from"] = None
    return {
        "preset": content["plans_name"],
        "foreground_intensity_properties_per_channel": {
            channel: {field: values[field] for field in IntensityStatistics.model_fields}
            for channel, values in content["foreground_intensity_properties_per_channel"].items()
        },
        "configurations": configurations,
        **{name: content[name] for name in _PLAN_FIELDS},
    }


def _resolved(entries: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The fields of a configuration, with those that it inherits."""
    entry, chain = dict(entries[name]), [name]
    while (parent := entry.get("inherits_from")) is not None:
        if parent in chain:
            raise ValueError(f"configurations inherit in a circle: {', '.join(chain)}")
        chain.append(parent)
        fields = {key: value for key, value in entry.items() if key != "inherits_from"}
        entry = {**entries[parent], **fields}
    if len(chain) > 1:
        entry["inherited"] = chain[1]
    return entry


def _configuration(entry: Mapping[str, Any]) -> dict[str, Any]:
    network = entry["architecture"]["arch_kwargs"] if "architecture" in entry else _first_form(entry)
    strides = network["strides"]
    # Anything else than a list of lists is refused by the record's own check.
    lists = isinstance(strides, list) and all(isinstance(stage, list) for stage in strides)
    columns = zip(*strides, strict=False) if lists else ()
    return {
        "features_per_stage": network["features_per_stage"],
        "kernel_sizes": network["kernel_sizes"],
        "strides": strides,
        "num_pool_per_axis": [sum(step != 1 for step in column) for column in columns],
        "n_conv_per_stage": network.get("n_conv_per_stage"),
        "n_blocks_per_stage": network.get("n_blocks_per_stage"),
        "n_conv_per_stage_decoder": network["n_conv_per_stage_decoder"],
        "inherits_from": entry.get("inherited"),
        **{name: entry[name] for name in _FIELDS},
        **{name: entry.get(name) for name in _OPTIONAL},
    }


def _first_form(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The network in the form of nnU-Net up to 2.2, whose plans state it in fields of the configuration itself."""
    strides = entry["pool_op_kernel_sizes"]
    base, largest = entry["UNet_base_num_features"], entry["unet_max_num_features"]
    if not isinstance(base, int) or not isinstance(largest, int):
        raise TypeError("UNet_base_num_features or unet_max_num_features that is no whole number")
    residual = entry["UNet_class_name"] == "ResidualEncoderUNet"
    return {
        "features_per_stage": [min(base * 2**stage, largest) for stage in range(min(len(strides), MOST_STAGES))],
        "kernel_sizes": entry["conv_kernel_sizes"],
        "strides": strides,
        ("n_blocks_per_stage" if residual else "n_conv_per_stage"): entry["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": entry["n_conv_per_stage_decoder"],
    }
