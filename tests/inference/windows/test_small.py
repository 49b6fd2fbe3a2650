from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.inference.windows.reference import CPU, brute_force, image, network
from umseg.common.errors import UserError
from umseg.inference.windows.small import predict_small
from umseg.inference.windows.window import SlidingWindow


@pytest.mark.parametrize("size", [1, 3, 16, None])
def test_each_image_gets_the_logits_that_it_has_alone(size: int | None) -> None:
    shapes = [(1, 8, 8), (1, 5, 20), (1, 3, 3), (2, 9, 8), (1, 8, 8)]
    images = [image((1, *shape), seed) for seed, shape in enumerate(shapes)]
    window = SlidingWindow((8, 8), size, mirror_axes=(1,))
    networks = [network(2), network(2, seed=1)]
    slabs = list(predict_small(networks, images, 3, window, CPU, torch.float32))
    assert len(slabs) == len(images)
    for slab, data in zip(slabs, images, strict=True):
        assert (slab.start, slab.strip.start, slab.strip.stop) == (0, 0, data.shape[2])
        expected = brute_force(networks, data, 3, window)
        torch.testing.assert_close(slab.logits.double(), expected, rtol=0, atol=1e-5)


def test_windows_of_several_images_go_through_the_network_together() -> None:
    sizes = []

    class Counted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return x

    images = [image((1, 1, 8, 8), seed) for seed in range(10)]
    slabs = list(predict_small([Counted()], images, 1, SlidingWindow((8, 8), 4), CPU, torch.float32))
    assert sizes == [4, 4, 2]
    for slab, data in zip(slabs, images, strict=True):
        torch.testing.assert_close(slab.logits, data)


def test_images_are_drawn_as_they_are_needed() -> None:
    drawn = []

    def images() -> object:
        for number in range(100):
            drawn.append(number)
            yield image((1, 1, 8, 8))

    stream = predict_small([network(2)], images(), 3, SlidingWindow((8, 8), 4), CPU, torch.float32)  # type: ignore[arg-type]
    next(stream)
    assert len(drawn) == 4


def test_an_image_that_is_not_finite_is_refused() -> None:
    images = [image((1, 1, 8, 8)), torch.full((1, 1, 8, 8), float("nan"))]
    stream = predict_small([network(2)], images, 3, SlidingWindow((8, 8), 1), CPU, torch.float32)
    next(stream)
    with pytest.raises(UserError, match="output is not finite"):
        next(stream)
