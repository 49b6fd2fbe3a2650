"""Plans recorded by the published system, read as plans of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from umseg.planning.plan import Configuration, Plan


def load_reference_plan(path: Path) -> Plan:
    """Read an ``nnUNetPlans.json``; the cascade, which only inherits, is left out."""
    content = json.loads(path.read_text())
    configurations = {
        name: _configuration(entry) for name, entry in content["configurations"].items() if "inherits_from" not in entry
    }
    same = (
        "dataset_name",
        "original_median_spacing_after_transp",
        "original_median_shape_after_transp",
        "transpose_forward",
        "transpose_backward",
        "foreground_intensity_properties_per_channel",
    )
    return Plan(preset="nnunet", configurations=configurations, **{name: content[name] for name in same})


def _configuration(entry: dict[str, Any]) -> Configuration:
    architecture = entry["architecture"]["arch_kwargs"]
    strides = architecture["strides"]
    same = (
        "spacing",
        "median_image_size_in_voxels",
        "patch_size",
        "batch_size",
        "normalization_schemes",
        "use_mask_for_norm",
        "batch_dice",
    )
    network = ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage", "n_conv_per_stage_decoder")
    return Configuration(
        num_pool_per_axis=[sum(stage[axis] == 2 for stage in strides) for axis in range(len(strides[0]))],
        **{name: entry[name] for name in same},
        **{name: architecture[name] for name in network},
    )
