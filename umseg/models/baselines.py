"""The networks that the paper compares with, from MONAI (paper 3.3; settings of facts 2.4)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from umseg.common.errors import UserError
from umseg.planning.plan import Configuration


@dataclass(frozen=True)
class Baseline:
    """A network of MONAI.

    Attributes:
        name: The class in ``monai.networks.nets``.
        divisor: Every axis of the patch is a multiple of it.
        settings: Arguments of the class.
        sized: The class is built for one patch size.
    """

    name: str
    divisor: int
    settings: dict[str, Any]
    sized: bool = False


BASELINES = {
    "segresnet": Baseline("SegResNet", 8, {"init_filters": 32, "blocks_down": (1, 2, 2, 4), "blocks_up": (1, 1, 1)}),
    "unetr": Baseline(
        "UNETR",
        16,
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
    "swin_unetr": Baseline("SwinUNETR", 32, {"feature_size": 48, "depths": (2, 2, 2, 2), "num_heads": (3, 6, 12, 24)}),
}


class SingleHead(nn.Module):
    """A network without deep supervision behind the interface of those with it.

    Args:
        network: From (batch, channels, *patch) to logits (batch, classes, *patch).
        deep_supervision: Return a list of the one output.
    """

    def __init__(self, network: nn.Module, deep_supervision: bool) -> None:
        super().__init__()
        self.network = network
        self.deep_supervision = deep_supervision

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits at full resolution, or a list of them under deep supervision."""
        logits: Tensor = self.network(x)
        return [logits] if self.deep_supervision else logits


def rounded_patch(model: str, patch: Sequence[int]) -> tuple[int, ...]:
    """The patch, rounded up to what the network's strides ask for, and large enough for a norm over its last stage."""
    divisor = BASELINES[model].divisor
    steps = [-(-size // divisor) for size in patch]
    if max(steps) == 1:
        steps = [2] * len(steps)
    return tuple(step * divisor for step in steps)


def build_baseline(
    model: str, configuration: Configuration, in_channels: int, num_classes: int, deep_supervision: bool
) -> nn.Module:
    """Build a network of MONAI, which brings its own initialisation.

    Args:
        model: A key of ``BASELINES``.
        configuration: Its patch fits the network (see ``rounded_patch``); nothing else of it matters here.
        in_channels: Image channels.
        num_classes: Classes including the background.
        deep_supervision: Return a list; these networks have one head.

    Raises:
        UserError: MONAI is not installed.
    """
    baseline = BASELINES[model]
    size = {"img_size": tuple(configuration.patch_size)} if baseline.sized else {}
    try:
        networks = importlib.import_module("monai.networks.nets")
        # Here MONAI asks for what it needs for this network alone.
        network = getattr(networks, baseline.name)(
            in_channels=in_channels,
            out_channels=num_classes,
            spatial_dims=configuration.dimensions,
            **size,
            **baseline.settings,
        )
    except ImportError as error:
        raise UserError(
            f"Model '{model}' comes with MONAI, which is not installed, or not with all that it needs.",
            found=str(error).strip().splitlines()[0],
            remedy='Run `pip install "umseg[baselines]"`.',
        ) from error
    return SingleHead(network, deep_supervision)
