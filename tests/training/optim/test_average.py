from __future__ import annotations

import pytest
import torch
from torch import nn

from umseg.training.optim.average import WeightAverage


def test_the_average_follows_the_definition() -> None:
    network = nn.Linear(2, 2, bias=False)
    average = WeightAverage(network, decay=0.5)
    expected = network.weight.detach().clone()
    for n in range(1, 12):
        with torch.no_grad():
            network.weight.add_(n)
        average.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * network.weight.detach()
    torch.testing.assert_close(average.weights["weight"], expected)


def test_within_the_block_the_network_has_the_average_and_then_its_own_weights_again() -> None:
    network = nn.Linear(3, 2)
    average = WeightAverage(network, decay=0.9)
    with torch.no_grad():
        network.weight.zero_()
    kept = average.weights["weight"].clone()
    with average.in_network():
        assert torch.equal(network.weight, kept)
    assert not network.weight.any()
    with pytest.raises(ZeroDivisionError), average.in_network():
        1 / 0  # noqa: B018 - an error of any kind
    assert not network.weight.any()
    assert torch.equal(average.weights["weight"], kept)


def test_a_loaded_average_goes_on_as_the_saved_one() -> None:
    network = nn.Linear(3, 2)
    whole, resumed = WeightAverage(network, 0.9), WeightAverage(network, 0.9)
    with torch.no_grad():
        network.weight.add_(1)
    whole.update()
    resumed.load(whole.weights, whole.updates)
    with torch.no_grad():
        network.weight.add_(1)
    for average in (whole, resumed):
        average.update()
    assert torch.equal(whole.weights["weight"], resumed.weights["weight"])
