"""The networks that the paper compares with, built by MONAI from the settings of ``umseg.architectures.monai``."""

from __future__ import annotations

import importlib
from dataclasses import asdict

from torch import Tensor, nn

from umseg.architectures.monai import BASELINES
from umseg.common.errors import UserError
from umseg.models.convolution import replace_convolutions
from umseg.planning.plan import Configuration


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
        network = getattr(networks, type(baseline.settings).__name__)(
            in_channels=in_channels,
            out_channels=num_classes,
            spatial_dims=configuration.dimensions,
            **size,
            **asdict(baseline.settings),
        )
    except ImportError as error:
        raise UserError(
            f"Model '{model}' comes with MONAI, which is not installed, or not with all that it needs.",
            found=str(error).strip().splitlines()[0],
            remedy='Run `pip install "umseg[baselines]"`.',
        ) from error
    replace_convolutions(network)
    return SingleHead(network, deep_supervision)
