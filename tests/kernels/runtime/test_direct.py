"""Kernels called without their operators compute the same, and leave torch's compiler out of the process."""

from __future__ import annotations

import subprocess
import sys

import torch

from umseg.kernels.conv1d.interface import causal_conv1d_silu
from umseg.kernels.norm.cpu import norm_act
from umseg.kernels.runtime.direct import is_direct
from umseg.kernels.runtime.torch_private import fake_tensors
from umseg.kernels.scan.interface import selective_scan

_PROGRAM = """
import sys
import torch
from umseg.models.norm import InstanceNormAct
with torch.inference_mode():
    InstanceNormAct(4)(torch.ones(1, 4, 3, 3, 3))
assert "numba" in sys.modules
assert "torch._dynamo" not in sys.modules
"""


def test_only_plain_tensors_in_inference_mode_are_direct() -> None:
    assert not is_direct(torch.ones(1))
    with torch.inference_mode():
        assert is_direct(torch.ones(1))
        assert not is_direct(torch.nn.Parameter(torch.ones(1)))
        with fake_tensors():
            assert not is_direct(torch.ones(1))


def test_results_are_those_of_the_operators() -> None:
    generator = torch.Generator().manual_seed(0)
    x, residual = torch.randn(2, 2, 5, 6, 7, 8, generator=generator)
    weight, bias = torch.randn(2, 5, generator=generator)
    u, delta, gate = torch.randn(3, 2, 8, 40, generator=generator)
    states, b, c = -torch.rand(8, 4, generator=generator), *torch.randn(2, 2, 4, 40, generator=generator)
    taps = torch.randn(8, 1, 4, generator=generator)

    def results() -> list[torch.Tensor]:
        return [
            norm_act(x, residual, weight, bias, 1e-5, 0.01),
            norm_act(x, None, weight, bias, 1e-5, 0.01),
            selective_scan(u, delta, states, b, c, z=gate, delta_softplus=True, backend="cpu"),
            causal_conv1d_silu(u, taps),
        ]

    by_operators = results()
    with torch.inference_mode():
        for direct, expected in zip(results(), by_operators, strict=True):
            assert torch.equal(direct, expected)


def test_prediction_does_not_import_the_compiler() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True)
