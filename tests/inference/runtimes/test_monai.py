"""Small networks of the classes of MONAI that umseg builds; the operators are the same as in large ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.inference.runtimes.compare import largest_difference, shaken

nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed")

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "segresnet": (lambda: nets.SegResNet(spatial_dims=3, init_filters=8, out_channels=3), (8, 16, 16)),
    "segresnet 2-D": (lambda: nets.SegResNet(spatial_dims=2, init_filters=8, out_channels=3), (16, 16)),
    "unetr": (
        lambda: nets.UNETR(1, 3, (16, 16), feature_size=4, hidden_size=24, mlp_dim=32, num_heads=2, spatial_dims=2),
        (16, 16),
    ),
    "swin_unetr": (
        lambda: nets.SwinUNETR(1, 3, depths=(2, 1, 1, 1), num_heads=(1, 1, 1, 1), feature_size=12, spatial_dims=2),
        (64, 32),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_monai_compute_the_same(name: str) -> None:
    build, patch = NETWORKS[name]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that MONAI imports
        network = build()
    assert largest_difference(shaken(network), 1, patch, batch=2) < 1e-4
