from __future__ import annotations

import sys

import pytest
import torch

from tests.models.plans import BASELINES, make_configuration
from umseg.common.errors import UserError
from umseg.models.registry import build_network
from umseg.models.single_head import SingleHead


def configuration(patch: tuple[int, ...]):  # type: ignore[no-untyped-def]
    axes = len(patch)
    return make_configuration(patch, (32, 64), [[1] * axes, [2] * axes])


@pytest.mark.parametrize("patch", [(64, 64), (64, 32, 32)])
@pytest.mark.parametrize("model", sorted(BASELINES))
def test_logits_have_the_size_of_the_patch(model: str, patch: tuple[int, ...]) -> None:
    pytest.importorskip("monai", reason="the extra 'baselines' is not installed")
    network = build_network(model, configuration(patch), 2, 5).eval()
    image = torch.randn(1, 2, *patch)
    with torch.no_grad():
        logits = network(image)
        assert logits.shape == (1, 5, *patch)
        network.deep_supervision = True  # type: ignore[assignment]
        (head,) = network(image)
    torch.testing.assert_close(head, logits)


@pytest.mark.parametrize(
    ("model", "millions"),
    # The literature's figures for these settings in 3-D with 14 classes.
    [("unetr", (92, 103)), ("swin_unetr", (61, 64)), ("segresnet", (17, 20))],
)
def test_sizes_are_those_of_the_published_networks(model: str, millions: tuple[int, int]) -> None:
    pytest.importorskip("monai", reason="the extra 'baselines' is not installed")
    network = build_network(model, configuration((96, 96, 96)), 1, 14)
    assert millions[0] < sum(p.numel() for p in network.parameters()) / 1e6 < millions[1]


def test_a_missing_monai_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(UserError, match="not installed") as raised:
        build_network("unetr", configuration((64, 64)), 1, 2)
    assert 'pip install "umseg[baselines]"' in str(raised.value.remedy)


def test_gradients_pass_through_the_wrapper() -> None:
    network = SingleHead(torch.nn.Conv3d(1, 2, 1), deep_supervision=True)
    network(torch.ones(1, 1, 2, 2, 2))[0].sum().backward()
    assert network.network.weight.grad is not None
