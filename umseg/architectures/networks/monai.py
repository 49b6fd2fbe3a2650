"""The networks of MONAI that the paper compares with U-Mamba (paper 3.3; docs/rules.md, Baselines)."""

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
        network: Name of the class in ``monai.networks.nets``.
        arguments: Arguments of the class beyond dimensions, channels and classes.
        sized: Whether the class takes the patch size, so that the network is built for that size alone.
    """

    def build(
        stages: Sequence[Stage], in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
    ) -> Any:
        patch = tuple(stages[0].size)
        size = {"img_size": patch} if sized else {}
        make: Callable[..., Any] = getattr(importlib.import_module("monai.networks.nets"), network)
        # MONAI imports the packages that only this network needs at this point.
        return make(
            in_channels=in_channels, out_channels=num_classes, spatial_dims=len(patch), **size, **dict(arguments)
        )

    return build


# AdamW's default weight decay is 0.01. docs/rules.md, Baselines, names the sources of all settings.
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
