"""Networks as another package would add them through entry points."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint

import pytest
import torch
from torch import Tensor, nn

from umseg.architectures.options import ModelOptions
from umseg.architectures.registry import NETWORKS
from umseg.architectures.spec import ModelSpec
from umseg.architectures.stage import Stage
from umseg.architectures.unet import Architecture, row
from umseg.common import registry
from umseg.common.registry import Registry


class _Halving(nn.Module):
    """Two convolutions at half resolution."""

    def __init__(self, dimensions: int, in_channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        transposed = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d
        self.down = convolution(in_channels, width, 2, stride=2)
        self.up = transposed(width, num_classes, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(torch.relu(self.down(x)))
        return out


def build_halving(
    stages: Sequence[Stage], in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
) -> nn.Module:
    assert not deep_supervision
    return _Halving(len(stages[0].size), in_channels, num_classes, width=8)


def build_following(
    stages: Sequence[Stage], in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
) -> nn.Module:
    return _Halving(len(stages[0].size), in_channels, num_classes, stages[0].features)


def describe_shallow(stages: Sequence[Stage]) -> Architecture:
    return Architecture(
        encoder=(row("plain", 1),) * len(stages),
        decoder=(row("residual", 1),) * (len(stages) - 1),
        skips=(True,) * (len(stages) - 1),
        ssm=(None,) * len(stages),
    )


class _Looking(nn.Module):
    """Looks at a value, which tensors without data do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out if out.sum().item() else -out


def build_looking(
    stages: Sequence[Stage], in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
) -> nn.Module:
    return _Looking()


def build_missing(
    stages: Sequence[Stage], in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
) -> nn.Module:
    raise ImportError("no module named quick_nets")


HALVING = ModelSpec(
    "halving",
    "a test",
    build=build_halving,
    defaults={"optimizer": "adamw", "lr": 3e-4},
    patch_divisor=2,
    follows_plan=False,
)
FOLLOWING = ModelSpec("following", "a test", build=build_following, patch_divisor=2)
SHALLOW = ModelSpec("shallow", "a test", describe_shallow)
LOOKING = ModelSpec("looking", "a test", build=build_looking)
MISSING = ModelSpec("missing", "a test", build=build_missing, package="quick_nets", install="pip install quick_nets")


def install(monkeypatch: pytest.MonkeyPatch, **networks: str) -> None:
    """Let installed packages declare these entry points for one test, ``name="module:attribute"``."""
    declared = [EntryPoint(name, target, NETWORKS.group) for name, target in networks.items()]
    # Before entry points are replaced: a table that has not been asked yet would find those of the test.
    own = {name: NETWORKS[name] for name in NETWORKS}
    monkeypatch.setattr(registry, "entry_points", lambda group: [e for e in declared if e.group == group])
    fresh = Registry(NETWORKS.kind, NETWORKS.group, own, ModelSpec, "name")
    for name in ("_entries", "_plugins"):
        monkeypatch.setitem(NETWORKS.__dict__, name, getattr(fresh, name))
