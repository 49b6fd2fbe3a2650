"""The networks of MONAI that the paper compares with (paper 3.3; docs/rules.md, Baselines)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umseg.architectures.options import ModelOptions
from umseg.architectures.spec import Build, ModelSpec
from umseg.architectures.stage import Stage

_INSTALL = 'pip install "umseg[baselines]"'


def _builder(network: str, arguments: Mapping[str, Any], *, sized: bool = False) -> Build:
    """The function that builds a network of MONAI, which brings its own initialisation.

    Args:
        network: Class in ``monai.networks.nets``.
        arguments: Arguments of the class beyond dimensions, channels and classes.
        sized: The class takes the patch size, and is built for it alone.
    """

    def build(
        stages: Sequence[Stage], in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
    ) -> Any:
        patch = tuple(stages[0].size)
        size = {"img_size": patch} if sized else {}
        make: Callable[..., Any] = getattr(importlib.import_module("monai.networks.nets"), network)
        # Only here does MONAI import what it needs for this network alone.
        return make(
            in_channels=in_channels, out_channels=num_classes, spatial_dims=len(patch), **size, **dict(arguments)
        )

    return build


# Weight decay 0.01 is the default of AdamW. Sources of all settings: docs/rules.md, Baselines.
NETWORKS = (
    ModelSpec(
        "segresnet",
        "MONAI's SegResNet, a baseline of the U-Mamba paper",
        build=_builder("SegResNet", {"init_filters": 32, "blocks_down": (1, 2, 2, 4), "blocks_up": (1, 1, 1)}),
        defaults={"optimizer": "adam", "lr": 1e-4, "weight_decay": 1e-5, "eps": 1e-5, "deep_supervision": False},
        patch_divisor=8,
        follows_plan=False,
        package="monai",
        install=_INSTALL,
    ),
    ModelSpec(
        "unetr",
        "MONAI's UNETR, a baseline of the U-Mamba paper",
        build=_builder(
            "UNETR",
            {
                "feature_size": 16,
                "hidden_size": 768,
                "mlp_dim": 3072,
                "num_heads": 12,
                "proj_type": "conv",
                "norm_name": "instance",
                "res_block": True,
            },
            sized=True,
        ),
        defaults={"optimizer": "adamw", "lr": 1e-4, "eps": 1e-5, "power": 1.0, "deep_supervision": False},
        patch_divisor=16,
        follows_plan=False,
        package="monai",
        install=_INSTALL,
    ),
    ModelSpec(
        "swin_unetr",
        "MONAI's SwinUNETR, a baseline of the U-Mamba paper",
        build=_builder(
            "SwinUNETR",
            {"feature_size": 48, "depths": (2, 2, 2, 2), "num_heads": (3, 6, 12, 24), "window_size": 7},
        ),
        defaults={
            "optimizer": "adamw",
            "lr": 8e-4,
            "eps": 1e-5,
            "schedule": "cosine",
            "lr_end": 1e-6,
            "deep_supervision": False,
        },
        patch_divisor=32,
        follows_plan=False,
        package="monai",
        install=_INSTALL,
    ),
)
