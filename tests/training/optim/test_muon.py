from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.training.factories import make_network
from umseg.training.optim import muon
from umseg.training.optim.muon import NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, Muon, matrix_weights, orthogonalize


def by_decomposition(matrix: np.ndarray) -> np.ndarray:
    """What the iteration does to each singular value, in float64."""
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    s = s / np.linalg.norm(s)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        s = a * s + b * s**3 + c * s**5
    product: np.ndarray = (u * s) @ vt
    return product


def stepped(values: torch.Tensor, gradients: list[torch.Tensor], **options: float) -> torch.Tensor:
    weight = nn.Parameter(values.clone())
    optimizer = Muon([weight], **options)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 24), st.integers(1, 60), st.integers(0, 2**31), st.floats(-8, 8))
def test_it_acts_on_the_singular_values_only(rows: int, columns: int, seed: int, decimals: float) -> None:
    """Whatever the shape, and whatever the gradient's length.

    Each of the five steps multiplies a small singular value by 3.4: rounding errors of 6e-8 grow by about 500, and by
    the number of directions that they sum over.
    """
    matrices = np.random.default_rng(seed).normal(size=(2, rows, columns)) * 10**decimals
    found = orthogonalize(torch.tensor(matrices, dtype=torch.float32)).numpy()
    for matrix, one in zip(matrices, found, strict=True):
        np.testing.assert_allclose(one, by_decomposition(matrix), atol=1e-3)


def test_a_gradient_of_few_directions_gets_steps_along_the_weak_ones_too() -> None:
    generator = torch.Generator().manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(16, 16, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(40, 16, generator=generator))
    found = torch.linalg.svdvals(orthogonalize((u * torch.logspace(0, -2, 16)) @ v.T[None]))
    assert 0.65 < found.min() < found.max() < 1.25


@pytest.mark.parametrize("value", [0.0, 1e-25])
def test_no_gradient_is_no_step(value: float) -> None:
    found = orthogonalize(torch.full((1, 3, 5), value))
    assert found.isfinite().all()
    assert found.abs().max() < 1e-6


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has it since 2.9")
@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
def test_of_matrices_it_is_the_muon_of_torch(shape: tuple[int, int]) -> None:
    """Whose iteration has three digits, as it runs in bfloat16."""
    values, *gradients = torch.randn((4, *shape), generator=torch.Generator().manual_seed(1))
    weight = nn.Parameter(values.clone())
    peer = torch.optim.Muon([weight], lr=0.1, weight_decay=0.2, momentum=0.9)
    for gradient in gradients:
        weight.grad = gradient.clone()
        peer.step()
    found = stepped(values, gradients, lr=0.1, weight_decay=0.2, momentum=0.9)
    torch.testing.assert_close(found, weight.detach(), atol=0.01, rtol=0.01)
    assert (found - values).abs().max() > 0.1


def test_a_convolution_is_a_matrix_of_its_outputs() -> None:
    values, *gradients = torch.randn((3, 6, 2, 3, 3), generator=torch.Generator().manual_seed(2))
    flat = stepped(values.flatten(1), [gradient.flatten(1) for gradient in gradients], lr=0.1)
    assert torch.equal(stepped(values, gradients, lr=0.1).flatten(1), flat)


def test_weights_of_one_shape_go_through_together_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn((5, 6, 8), generator=torch.Generator().manual_seed(3))
    gradients = torch.randn((5, 6, 8), generator=torch.Generator().manual_seed(4))
    found = []
    for at_once in (1, 2 * 6 * 8, 1000):
        monkeypatch.setattr(muon, "AT_ONCE", at_once)
        weights = [nn.Parameter(value.clone()) for value in values]
        optimizer = Muon(weights, lr=0.1)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
        found.append(torch.stack([weight.detach() for weight in weights]))
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[2], found[0], atol=1e-6, rtol=0)
    assert (found[0] - values).norm(dim=(1, 2)).min() > 0.1


def test_a_weight_without_a_gradient_stays() -> None:
    weight, other = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2, 3))
    weight.grad = torch.ones(2, 3)
    Muon([other, weight], lr=0.1).step()
    assert torch.equal(other, torch.ones(2, 3))
    assert not torch.equal(weight, torch.ones(2, 3))


def test_matrices_are_the_kernels_and_the_linear_layers() -> None:
    network = make_network(model="umamba_bot")
    chosen = {id(weight) for weight in matrix_weights(network)}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in chosen}
    others = set(dict(network.named_parameters())) - names
    assert all(name.endswith(".weight") for name in names)
    assert {name.rsplit(".", 2)[-2] for name in names} >= {"in_proj", "x_proj", "dt_proj", "out_proj"}
    assert {name.split(".")[0] for name in names} == {"encoder", "upsamplings", "decoder"}
    assert {name.rsplit(".")[-1] for name in others} == {"weight", "bias", "A_log", "D"}
    assert any("conv1d.weight" in name for name in others)
    kernels = {name.split(".")[0] for name, weight in network.named_parameters() if weight.ndim > 3 and name in others}
    assert kernels == {"heads"}


def test_grouped_convolutions_are_no_matrices() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 3), nn.Embedding(3, 4), nn.Conv2d(2, 2, 1))
    assert [id(weight) for weight in matrix_weights(network)] == [id(network[1].weight)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_on_a_gpu_a_step_does_not_wait_for_the_device() -> None:
    values, gradient = torch.randn((2, 6, 2, 3, 3), generator=torch.Generator().manual_seed(5))
    weight = nn.Parameter(values.cuda())
    weight.grad = gradient.cuda()
    optimizer = Muon([weight], lr=0.1)
    optimizer.found_inf = torch.zeros((), device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(weight.detach().cpu(), stepped(values, [gradient], lr=0.1), atol=1e-4, rtol=0)
    kept = weight.detach().clone()
    optimizer.found_inf = torch.ones((), device="cuda")
    optimizer.step()
    assert torch.equal(weight, kept)
