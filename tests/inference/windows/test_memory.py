from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.inference.windows.reference import CPU
from tests.training.factories import make_configuration
from umseg.inference.windows.memory import WITHIN, forward_bytes, sums_bytes
from umseg.inference.windows.slab import Strip
from umseg.inference.windows.tiles import Tiles
from umseg.inference.windows.window import SlidingWindow
from umseg.models.device import place
from umseg.models.measured_memory import LiveBytes
from umseg.models.registry import build_network


def unet(model: str, patch: tuple[int, ...], classes: int) -> nn.Module:
    """Three stages of few channels."""
    axes = len(patch)
    configuration = make_configuration(
        patch,
        features_per_stage=(8, 16, 32),
        kernel_sizes=((3,) * axes,) * 3,
        strides=((1,) * axes, (2,) * axes, (2,) * axes),
        num_pool_per_axis=(2,) * axes,
        n_conv_per_stage=(2, 2, 2),
        n_conv_per_stage_decoder=(2, 2),
    )
    return place(build_network(model, configuration, 1, classes, False), CPU).eval()


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("model", ["nnunet", "umamba_enc"])
def test_small_windows_tell_what_a_large_one_needs(model: str, precision: torch.dtype) -> None:
    patch = (48, 64, 64)
    network = unet(model, patch, 20)
    with torch.inference_mode(), LiveBytes() as memory, torch.autocast("cpu", precision, precision != torch.float32):
        network(torch.zeros(1, 1, *patch))
    told = forward_bytes(network, 1, patch, CPU, precision, unit=(4, 4, 4))
    assert told == pytest.approx(WITHIN * memory.peak, rel=0.1)


@pytest.mark.parametrize("patch", [(16, 24, 16), (64, 48)])
def test_small_windows_are_measured_as_they_are(patch: tuple[int, ...]) -> None:
    network = unet("nnunet", patch, 3)
    with torch.inference_mode(), LiveBytes() as memory:
        network(torch.zeros(1, 1, *patch))
    unit = (4,) * len(patch)
    told = forward_bytes(network, 1, patch, CPU, torch.float32, unit=unit)
    assert told == pytest.approx(WITHIN * memory.peak, rel=0.1)
    several = forward_bytes(network, 1, patch, CPU, torch.float32, unit=unit, batch=3)
    assert several == 3 * told


def test_a_network_for_one_size_computes_a_whole_window() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2:] == (64, 64, 64)
            return x * 2 + 1

    size = 4 * 64**3
    told = forward_bytes(Fixed(), 1, (64, 64, 64), CPU, torch.float32, unit=(1, 1, 1))
    assert 3 * size <= told / WITHIN <= 5 * size


def test_bytes_of_the_sums_of_an_image() -> None:
    window = SlidingWindow((16, 16, 16))
    tiles = Tiles.covering((100, 40, 30), window.patch, window.step)
    # Windows of two successive positions along axis 0, eight planes apart, may be in one batch.
    assert tiles.starts[0][:3] == (0, 8, 15)
    strips = [Strip(0, 21), Strip(20, 40)]
    assert sums_bytes(tiles, strips, 2, 3, window, 1) == 4 * 24 * 21 * 30 * 4
    # Five networks apart have sums of their own, and their mean is made for export.
    apart = SlidingWindow((16, 16, 16), separate=True)
    assert sums_bytes(tiles, strips, 2, 3, apart, 5) == 4 * 24 * 21 * 30 * (3 * 6 + 1)
