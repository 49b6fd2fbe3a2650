"""The Triton kernels without a GPU: interpreted on CPU, and compiled for a GPU that need not be there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.kernels.triton_checks import CASES, CONVOLUTIONS, NORMS
from umseg.kernels.runtime import obstacles

pytestmark = pytest.mark.skipif(
    find_spec("triton") is None or obstacles._triton_version() < (3, 3),
    reason="triton 3.3 or later is not installed (it exists for Linux)",
)

ROOT = Path(__file__).resolve().parents[3]


def run_checks(what: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.kernels.triton_checks", what]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def interpreted() -> dict[str, Any]:
    return run_checks("values", TRITON_INTERPRET="1")


@pytest.mark.parametrize("case", [*CASES, *CONVOLUTIONS, *NORMS])
def test_values_and_gradients_equal_the_reference(interpreted: dict[str, Any], case: str) -> None:
    assert max(interpreted[case].values()) < 1e-5, interpreted[case]


def test_the_rest_holds(interpreted: dict[str, Any]) -> None:
    """Finite for extreme inputs, bit-identical, operators by torch's rules."""
    others = {name: value for name, value in interpreted.items() if name not in {**CASES, **CONVOLUTIONS, **NORMS}}
    assert len(others) == 6
    assert all(value is True for value in others.values()), others


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    return run_checks("compile")


def test_kernels_compile_for_a_gpu(compiled: dict[str, Any]) -> None:
    assert len(compiled) == 12


def test_lanes_exchange_nothing_but_sums(compiled: dict[str, Any]) -> None:
    """Speed hangs on how Triton lays tiles out in lanes; a change of Triton's rules shows here first."""
    alone = ["summarise", "carry", "outputs"]
    for name in [*(f"triton_forward.{kernel}" for kernel in alone), "triton_backward.summarise_adjoint"]:
        assert compiled[name]["exchanges"] == 0, name
    # What is loaded ahead lies in shared memory: as little as lets many programs run at the same time.
    assert 0 < compiled["triton_forward.outputs"]["shared"] <= 4096
    # Per token: 2 sums over channels for 4 groups of states, 3 shuffles each; 3 sums over states of 4 channels, 2 each.
    assert compiled["triton_backward.gradients"]["exchanges"] == 2 * (2 * 4 * 3 + 3 * 4 * 2)
