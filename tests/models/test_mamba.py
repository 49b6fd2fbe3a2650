from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from umseg.models.mamba import MambaBlock


def load_recorded(golden: Path, name: str, dtype: torch.dtype) -> tuple[dict[str, Any], MambaBlock]:
    recorded = torch.load(golden / f"{name}.pt", weights_only=True)
    block = MambaBlock(recorded["d_model"])
    block.load_state_dict(recorded["state_dict"])
    return recorded, block.to(dtype)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", ["mamba_d8", "mamba_d24"])
def test_values_and_gradients_equal_the_recorded_ones(
    golden: Path, name: str, dtype: torch.dtype, tolerance: float
) -> None:
    recorded, block = load_recorded(golden, name, dtype)
    x = recorded["x"].to(dtype).requires_grad_()
    y = block(x)
    y.backward(recorded["grad_out"].to(dtype))
    assert relative_error(y.detach(), recorded["y_f64"]) < tolerance
    assert relative_error(x.grad, recorded["grad_x"]) < tolerance
    for parameter, tensor in block.named_parameters():
        assert relative_error(tensor.grad, recorded["grads"][parameter]) < tolerance, parameter  # type: ignore[arg-type]


@pytest.mark.parametrize(("d_model", "count"), [(32, 9_920), (64, 32_640), (320, 675_200)])
def test_number_of_parameters(d_model: int, count: int) -> None:
    assert sum(p.numel() for p in MambaBlock(d_model).parameters()) == count


def test_names_and_shapes_of_parameters() -> None:
    shapes = {name: tuple(p.shape) for name, p in MambaBlock(24, d_state=8, d_conv=3, expand=3).named_parameters()}
    assert shapes == {
        "A_log": (72, 8),
        "D": (72,),
        "in_proj.weight": (144, 24),
        "conv1d.weight": (72, 1, 3),
        "conv1d.bias": (72,),
        "x_proj.weight": (2 + 16, 72),
        "dt_proj.weight": (72, 2),
        "dt_proj.bias": (72,),
        "out_proj.weight": (24, 72),
    }


def test_initialisation_of_the_state_space_model() -> None:
    torch.manual_seed(0)
    block = MambaBlock(256)
    torch.testing.assert_close(block.A_log.exp(), torch.arange(1.0, 17).expand(512, 16))
    assert torch.equal(block.D, torch.ones(512))
    assert block.dt_proj.weight.abs().max() <= 16**-0.5
    assert block.dt_proj.weight.abs().max() > 0.95 * 16**-0.5
    steps = F.softplus(block.dt_proj.bias.double())
    assert 0.0009999 < steps.min() < 0.0012
    assert 0.08 < steps.max() < 0.10001
    # Log-uniform: half of the steps lie below the geometric mean of the bounds.
    assert 0.4 < (steps < 0.01).double().mean() < 0.6


def test_wide_and_narrow_blocks_project_the_steps_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block, tokens = MambaBlock(24), torch.randn(2, 40, 24)
    narrow = block(tokens)
    monkeypatch.setattr("umseg.models.mamba._WIDEST_FUSED", 0)
    torch.testing.assert_close(block(tokens), narrow)


def test_tokens_may_be_a_view_of_a_feature_map() -> None:
    torch.manual_seed(0)
    block, features = MambaBlock(16), torch.randn(2, 16, 3, 4, 5)
    tokens = features.flatten(2).transpose(1, 2)
    assert not tokens.is_contiguous()
    torch.testing.assert_close(block(tokens), block(tokens.contiguous()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    block, tokens = MambaBlock(16), torch.randn(2, 50, 16)
    expected = block(tokens)
    with torch.autocast("cpu", dtype=dtype):
        found = block(tokens)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert block(tokens.to(dtype)).dtype == torch.float32


@settings(max_examples=20, deadline=None)
@given(length=st.integers(2, 70), data=st.data())
def test_a_token_changes_no_output_before_it(length: int, data: st.DataObject) -> None:
    changed = data.draw(st.integers(0, length - 1))
    torch.manual_seed(0)
    block, tokens = MambaBlock(8), torch.randn(1, length, 8)
    with torch.no_grad():
        before = block(tokens)
        tokens[:, changed] += 1
        different = (block(tokens) - before).abs().amax(dim=(0, 2))
    # Matrix products may be summed in another order, but by no more than rounding.
    assert (different[:changed] < 1e-6).all()
    assert different[changed] > 1e-6


def test_training_step_between_convolutions() -> None:
    torch.manual_seed(0)
    before, block, after = torch.nn.Conv3d(1, 8, 3, padding=1), MambaBlock(8), torch.nn.Conv3d(8, 2, 3, padding=1)
    modules = torch.nn.ModuleList([before, block, after])
    optimiser = torch.optim.SGD(modules.parameters(), lr=0.05)
    image = torch.randn(2, 1, 6, 7, 8)
    target = (image[:, 0] > 0).long()
    losses = []
    for _ in range(10):
        features = before(image)
        mixed = block(features.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(features.shape)
        loss = F.cross_entropy(after(mixed + features), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_compiled_to_one_graph() -> None:
    torch.manual_seed(0)
    block, tokens = MambaBlock(8), torch.randn(1, 40, 8)
    graph = torch.compile(block, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(graph(tokens), block(tokens))
    graph(tokens).sum().backward()
    compiled = [p.grad.clone() for p in block.parameters() if p.grad is not None]
    block.zero_grad()
    block(tokens).sum().backward()
    for found, parameter in zip(compiled, block.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad)
