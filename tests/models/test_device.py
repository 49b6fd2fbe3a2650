from __future__ import annotations

import contextlib

import pytest
import torch

from tests.models.plans import SMALL, U_NETS
from umseg.common.errors import UserError
from umseg.kernels.runtime.memory_format import channels_last
from umseg.models import device as module
from umseg.models.device import autocast, place, resolve_device, resolve_precision
from umseg.models.registry import build_network

CPU = torch.device("cpu")
CUDA = torch.device("cuda")

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


def test_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == CPU


@without_cuda
def test_auto_falls_back_to_the_cpu() -> None:
    assert resolve_device("auto") == CPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_takes_the_gpu() -> None:
    assert resolve_device("auto").type == "cuda"
    assert resolve_device("cuda:0") == torch.device("cuda:0")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu!", "meta", "xpu", "vulkan"])
def test_unknown_device(name: str) -> None:
    with pytest.raises(UserError, match="Unknown device") as caught:
        resolve_device(name)
    assert "cuda:N" in str(caught.value.expected)


@without_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_on_a_machine_without_it(name: str) -> None:
    with pytest.raises(UserError, match="not available") as caught:
        resolve_device(name)
    assert caught.value.found == "0 CUDA devices"
    assert "--device" in str(caught.value.remedy)


def test_cuda_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="not available"):
        resolve_device("cuda:2")


def test_precision_by_name() -> None:
    assert resolve_precision("fp32", CPU) == torch.float32
    assert resolve_precision("bf16", CPU) == torch.bfloat16
    assert resolve_precision("fp16", CUDA) == torch.float16


@pytest.mark.parametrize("supported", [True, False])
def test_automatic_precision_on_cpu(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    monkeypatch.setattr(module, "cpu_has_bfloat16", lambda: supported)
    assert resolve_precision("auto", CPU) == (torch.bfloat16 if supported else torch.float32)
    assert resolve_precision("auto", torch.device("mps")) == torch.float32


@pytest.mark.parametrize("supported", [True, False])
def test_automatic_precision_on_cuda(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert resolve_precision("auto", CUDA) == (torch.bfloat16 if supported else torch.float16)


def test_processor_that_torch_knows_nothing_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert resolve_precision("auto", CPU) == torch.float32


def test_fp16_needs_cuda() -> None:
    with pytest.raises(UserError, match="fp16 needs") as caught:
        resolve_precision("fp16", CPU)
    assert "--precision" in str(caught.value.remedy)


def test_unknown_precision() -> None:
    with pytest.raises(UserError, match="'fp8'") as caught:
        resolve_precision("fp8", CPU)
    assert caught.value.expected == "auto, fp32, bf16, fp16"


def test_autocast_only_below_float32() -> None:
    assert isinstance(autocast(CPU, torch.float32), contextlib.nullcontext)
    a = torch.ones(2, 2)
    with autocast(CPU, torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, torch.float32):
        assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_channels_last_keeps_the_values(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    y = channels_last(x)
    assert torch.equal(x, y)
    assert y.stride(1) == 1


@pytest.mark.parametrize("name", ["2d", "3d", "anisotropic"])
@pytest.mark.parametrize("model", U_NETS)
def test_placing_keeps_weights_and_outputs(model: str, name: str) -> None:
    torch.manual_seed(0)
    network = build_network(model, SMALL[name], 1, 2)
    image = torch.randn(1, 1, *SMALL[name].patch_size)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    expected = network(image)
    parameters = list(map(id, network.parameters()))
    placed = place(network, CPU)
    assert list(map(id, placed.parameters())) == parameters
    assert all(torch.equal(before[key], value) for key, value in placed.state_dict().items())
    assert all(p.stride(1) == 1 for p in placed.parameters() if p.dim() in (4, 5) and p.shape[1] > 1)
    torch.testing.assert_close(placed(image), expected, rtol=1e-3, atol=1e-4)
