from __future__ import annotations

import logging
import math
import shutil
import subprocess
import sys
import threading
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.kernels.scan.scans import (
    NAMES,
    all_finite,
    errors,
    extreme_inputs,
    make_inputs,
    run,
    segmented_reference,
    selective_scan,
)
from umseg.kernels.runtime import obstacles
from umseg.kernels.runtime.obstacles import Obstacle
from umseg.kernels.runtime.threads import run_tasks
from umseg.kernels.scan import available_backends, choose_backend, interface, mamba_ssm, reference
from umseg.kernels.scan import cpu as cpu_backend


def run_cpu(inputs: list[Tensor | None]) -> list[Tensor]:
    return run(cpu_backend.scan, inputs, True, torch.float32)


def assert_close(inputs: list[Tensor | None], softplus: bool) -> None:
    found = errors(cpu_backend.scan, inputs, softplus)
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("length", [1, 3, 31, 32, 33, 63, 64, 65])
@pytest.mark.parametrize("states", [4, 8, 16, 32])
@pytest.mark.parametrize("channels", [1, 16, 37])
def test_cpu_equals_reference(channels: int, states: int, length: int) -> None:
    assert_close(make_inputs(2, channels, states, length), softplus=True)


@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("last", ["time", "channel", "neither"])
def test_cpu_equals_reference_for_all_options_and_memory_layouts(last: str, full: bool, softplus: bool) -> None:
    inputs = make_inputs(2, 50, 16, 70, full=full, last=last)
    if not softplus:
        inputs[1] = inputs[1].abs() * 0.3  # type: ignore[union-attr]
        inputs[7] = None
    assert_close(inputs, softplus)


@pytest.mark.parametrize("absent", ["D", "z", "delta_bias"])
def test_cpu_equals_reference_without_one_option(absent: str) -> None:
    inputs = make_inputs(1, 20, 16, 40)
    inputs[NAMES.index(absent)] = None
    assert_close(inputs, softplus=True)


def test_cpu_equals_reference_on_a_long_sequence() -> None:
    assert_close(make_inputs(1, 19, 16, 1000), softplus=True)


def test_cpu_equals_the_segmented_reference_at_the_benchmarks_length() -> None:
    short = run(segmented_reference, make_inputs(1, 3, 4, 60), True, torch.float64)
    for a, b in zip(short, run(reference.scan, make_inputs(1, 3, 4, 60), True, torch.float64), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    found = errors(cpu_backend.scan, make_inputs(1, 3, 16, 89600), truth=segmented_reference)
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("states", [1, 3, 5, 20])
def test_any_number_of_states(states: int) -> None:
    assert_close(make_inputs(1, 5, states, 35), softplus=True)


def test_reference_gradients_are_those_of_finite_differences() -> None:
    inputs = [t.requires_grad_() for t in make_inputs(1, 2, 3, 4) if t is not None]
    assert torch.autograd.gradcheck(lambda *t: selective_scan(*t, delta_softplus=True, backend="reference"), inputs)


def test_reference_matches_the_recurrence_written_in_numpy() -> None:
    u, delta, A, B, C, D, z, bias = (np.asarray(t) for t in make_inputs(1, 3, 4, 6))
    expected = np.empty((3, 6))
    for channel in range(3):
        state = np.zeros(4)
        for t in range(6):
            step = np.log1p(np.exp(delta[0, channel, t] + bias[channel]))
            state = np.exp(step * A[channel]) * state + step * B[0, :, t] * u[0, channel, t]
            gate = z[0, channel, t] / (1 + np.exp(-z[0, channel, t]))
            expected[channel, t] = (C[0, :, t] @ state + D[channel] * u[0, channel, t]) * gate
    inputs = [torch.from_numpy(a.copy()) for a in (u, delta, A, B, C, D, z, bias)]
    np.testing.assert_allclose(selective_scan(*inputs, delta_softplus=True)[0], expected, rtol=1e-12)


def test_two_runs_are_bit_identical() -> None:
    inputs = make_inputs(2, 70, 16, 130)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        first, *others = (run_cpu(inputs) for _ in range(4))
    finally:
        torch.set_num_threads(before)
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    inputs = make_inputs(2, 70, 16, 130)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(run_cpu(inputs))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1e4, -1e4, 1e2, -1e2])
def test_extreme_inputs_stay_finite(size: float, dtype: torch.dtype) -> None:
    assert all_finite(cpu_backend.scan, extreme_inputs(size, dtype))


def test_extreme_raw_steps_without_softplus_stay_finite() -> None:
    inputs = [None if t is None else t.float() for t in make_inputs(1, 16, 16, 50)]
    inputs[1] = torch.linspace(0, 1e4, 50).expand(1, 16, 50)
    assert selective_scan(*inputs, backend="cpu").isfinite().all()


@pytest.mark.parametrize(("length", "changed"), [(2, 1), (33, 0), (64, 31), (64, 32), (80, 47), (80, 79)])
def test_a_token_changes_no_output_before_it(length: int, changed: int) -> None:
    inputs = [None if t is None else t.float() for t in make_inputs(1, 18, 4, length)]
    before = selective_scan(*inputs, delta_softplus=True, backend="cpu")
    for position in (0, 1, 3, 4, 6):
        tensor = inputs[position]
        assert tensor is not None
        inputs[position] = tensor.clone()
        inputs[position][..., changed] += 1  # type: ignore[index]
    after = selective_scan(*inputs, delta_softplus=True, backend="cpu")
    assert torch.equal(before[..., :changed], after[..., :changed])
    assert not torch.equal(before[..., changed], after[..., changed])


def test_a_step_that_needs_clamping_changes_nothing_before_it() -> None:
    """Tiles with small exponents take a loop without clamps; it must give the same bits as the one with them."""
    inputs = [None if t is None else t.float() for t in make_inputs(1, 18, 8, 32)]
    results = []
    for last_step in (1.0, 1e4):
        assert inputs[1] is not None
        inputs[1][..., 31] = last_step
        leaves = [None if t is None else t.clone().requires_grad_() for t in inputs]
        y = selective_scan(*leaves, delta_softplus=True, backend="cpu")[..., :31]
        sequences = [leaves[i] for i in (0, 1, 3, 4, 6)]
        results.append([y, *(g[..., :31] for g in torch.autograd.grad(y.sum(), sequences))])  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("exponent", [-129.0, -126.5, -125.5, 100.0, 125.5, 126.5])
def test_decays_at_the_ends_of_the_number_range(exponent: float) -> None:
    """Two tokens, the decay between them 2^exponent; beside channels with a common one."""
    rates = torch.full((20, 3), math.log(2) * exponent)
    rates[::2] = -1
    u = torch.tensor([1e-30 if exponent > 0 else 1e30, 0.0]).expand(1, 20, 2)
    ones = torch.ones(1, 3, 2)
    found = selective_scan(u, torch.ones(1, 20, 2), rates, ones, ones, backend="cpu")
    exact = reference.scan(
        u.double(), torch.ones(1, 20, 2).double(), rates.double(), ones.double(), ones.double(), None, None, None, False
    )
    torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=3e-8)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("blocks", [1, 3, 4, 9])
@pytest.mark.parametrize("batches", [1, 2, 7])
def test_the_pieces_are_every_channel_block_once(batches: int, blocks: int, threads: int) -> None:
    pieces = cpu_backend._forward_pieces(batches, blocks, threads)
    covered = [(batch, block) for batch, first, last in pieces for block in range(first, last)]
    assert sorted(covered) == [(batch, block) for batch in range(batches) for block in range(blocks)]
    assert max(last - first for _, first, last in pieces) <= cpu_backend._BLOCKS_FORWARD


@pytest.mark.parametrize(("scale", "length"), [(0.0, 1), (-3.0, 31), (1.7, 32), (0.3, 70)])
def test_the_scan_is_linear_in_u(scale: float, length: int) -> None:
    inputs = [None if t is None else t.float() for t in make_inputs(1, 5, 4, length)]
    first, second = inputs[0], torch.randn(1, 5, length)
    assert first is not None
    rest = inputs[1:]
    together = selective_scan(first + scale * second, *rest, delta_softplus=True)
    apart = selective_scan(first, *rest, delta_softplus=True) + scale * selective_scan(
        second,
        *rest,
        delta_softplus=True,
    )
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("last", ["time", "channel"])
def test_operators_follow_the_rules_of_torch(last: str, full: bool) -> None:
    inputs = [
        None if t is None else t.float().requires_grad_() for t in make_inputs(2, 18, 5, 40, full=full, last=last)
    ]
    torch.library.opcheck(cpu_backend.forward_op, (*inputs, True, True))
    with torch.no_grad():
        y, kept = cpu_backend.forward_op(*inputs, True, True)
        torch.library.opcheck(
            cpu_backend.backward_op, (y, *inputs, True, kept), test_utils=("test_schema", "test_faketensor")
        )


def test_backward_works_where_forward_kept_no_states() -> None:
    inputs = [None if t is None else t.float().requires_grad_() for t in make_inputs(1, 6, 4, 70)]
    tensors = [t for t in inputs if t is not None]
    kept, not_kept = (
        torch.autograd.grad(cpu_backend.forward_op(*inputs, True, keep)[0].sum(), tensors) for keep in (True, False)
    )
    assert all(torch.equal(a, b) for a, b in zip(kept, not_kept, strict=True))


def test_only_the_gradients_asked_for() -> None:
    inputs = [None if t is None else t.float() for t in make_inputs(1, 6, 4, 20)]
    u = inputs[0]
    assert u is not None
    u.requires_grad_()
    (selective_scan(*inputs, delta_softplus=True).sum()).backward()
    assert u.grad is not None
    assert u.grad.isfinite().all()


def test_output_has_the_dtype_of_u_and_is_computed_in_float32() -> None:
    inputs = [None if t is None else t.bfloat16() for t in make_inputs(1, 6, 4, 50)]
    exact = [None if t is None else t.float() for t in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = selective_scan(*inputs, delta_softplus=True)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, selective_scan(*exact, delta_softplus=True).bfloat16())


def test_auto_takes_the_cpu_kernel_and_the_reference_for_float64() -> None:
    assert choose_backend(torch.device("cpu")) == "cpu"
    assert choose_backend(torch.device("cpu"), torch.float64) == "reference"
    assert available_backends()["cpu"]
    assert available_backends()["reference"]


MISSING = Obstacle("it is not here", "fetch it")


def test_a_slow_backend_is_reported_once_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(interface, "OBSTACLES", dict.fromkeys(interface.BACKENDS, MISSING) | {"reference": None})
    interface._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert choose_backend(torch.device("cuda")) == "reference"
        assert choose_backend(torch.device("cuda")) == "reference"
    assert len(caplog.records) == 1
    assert "it is not here. Remedy: fetch it" in caplog.text


@pytest.mark.parametrize(("missing", "chosen"), [([], "triton"), (["triton"], "mamba_ssm")])
def test_auto_on_a_gpu(
    missing: list[str], chosen: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    obstacles = {name: MISSING if name in missing else None for name in interface.BACKENDS}
    monkeypatch.setattr(interface, "OBSTACLES", obstacles)
    assert choose_backend(torch.device("cuda")) == chosen
    assert choose_backend(torch.device("cuda"), torch.float64) == "reference"
    assert not caplog.records


def test_a_missing_backend_asked_for_by_name_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "OBSTACLES", {"cpu": MISSING})
    with pytest.raises(ImportError, match="it is not here; remedy: fetch it"):
        selective_scan(*(None if t is None else t.float() for t in make_inputs(1, 4, 4, 8)), backend="cpu")


@pytest.mark.parametrize(
    ("found", "platform", "version", "compiler", "reason"),
    [
        ([], "linux", "3.9.0", "gcc", "triton is not installed"),
        (["triton"], "linux", "3.9.0", "gcc", None),
        (["triton"], "linux", "3.2.0", "gcc", "triton is older than 3.3"),
        (["triton"], "linux", "3.9.0", None, "triton finds no C compiler"),
        (["triton"], "win32", "3.9.0", None, None),
        ([], "win32", "3.9.0", None, "mamba_ssm exists for Linux only"),
        ([], "linux", "3.9.0", None, "mamba_ssm is not installed"),
        (["mamba_ssm"], "linux", "3.9.0", None, "mamba_ssm is installed without its CUDA kernels"),
        (["mamba_ssm", "selective_scan_cuda"], "linux", "3.9.0", None, None),
    ],
)
def test_obstacles(
    found: list[str],
    platform: str,
    version: str,
    compiler: str | None,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(obstacles, "find_spec", lambda name: name if name in found else None)
    monkeypatch.setattr(obstacles, "version", lambda name: version)
    monkeypatch.setattr(shutil, "which", lambda name: compiler)
    package = "mamba_ssm" if "mamba_ssm" in (*found, *(reason or "").split()) else "triton"
    obstacle = obstacles.find_obstacle(package)
    assert (obstacle and obstacle.reason) == reason


@pytest.mark.parametrize(
    ("name", "shape"),
    [("delta", (1, 4, 9)), ("B", (1, 5, 8)), ("C", (2, 4, 8)), ("D", (5,)), ("z", (1, 4)), ("delta_bias", (4, 1))],
)
def test_wrong_shapes_are_named(name: str, shape: tuple[int, ...]) -> None:
    arguments = dict(zip(NAMES, make_inputs(1, 4, 4, 8), strict=True))
    arguments[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match=f"^{name} must be"):
        selective_scan(**arguments)


@pytest.mark.parametrize("sizes", [(0, 4, 4, 8), (1, 4, 4, 0), (1, 4, 0, 8)])
def test_empty_inputs_are_refused(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="nothing to scan"):
        selective_scan(*make_inputs(*sizes))


def test_unknown_and_unfit_backends_are_refused() -> None:
    inputs = make_inputs(1, 4, 4, 8)
    with pytest.raises(ValueError, match="expected 'auto', 'cpu'"):
        selective_scan(*inputs, backend="fast")
    with pytest.raises(ValueError, match="computes in torch"):
        selective_scan(*inputs, backend="cpu")
    with pytest.raises(ValueError, match="works on cuda tensors"):
        selective_scan(*inputs, backend="mamba_ssm")


@pytest.fixture
def fake_mamba_ssm(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor | None, ...]]:
    """The public function of mamba-ssm as a stand-in with the checks of its kernels; the calls that it got."""
    calls: list[tuple[Tensor | None, ...]] = []

    def selective_scan_fn(
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, z: Tensor | None = None,
        delta_bias: Tensor | None = None, delta_softplus: bool = False, return_last_state: bool = False,
    ) -> Tensor:  # fmt: skip
        tensors = (u, delta, A, B, C, D, z, delta_bias)
        for tensor in tensors:
            assert tensor is None or (tensor.dtype == torch.float32 and tensor.is_contiguous())
        calls.append(tensors)
        return reference.scan(*tensors, delta_softplus)

    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["mamba_ssm.ops.selective_scan_interface"].selective_scan_fn = selective_scan_fn  # type: ignore[attr-defined]
    return calls


@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("last", ["time", "channel", "neither"])
def test_mamba_ssm_gets_what_its_kernels_take(
    last: str, full: bool, softplus: bool, fake_mamba_ssm: list[tuple[Tensor | None, ...]]
) -> None:
    inputs = make_inputs(2, 5, 4, 9, full=full, last=last)
    found = errors(mamba_ssm.scan, inputs, softplus)
    assert max(found.values()) < 1e-5, found
    (given,) = fake_mamba_ssm
    assert [None if t is None else t.shape for t in given] == [None if t is None else t.shape for t in inputs]


def test_importing_the_block_does_not_import_numba() -> None:
    code = "import sys, umseg.models.mamba, umseg.kernels.scan.cpu; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_kernels_compile_where_no_cache_can_be_written() -> None:
    code = (
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from umseg.kernels.runtime.jit import jit\n"
        "assert jit('int64(int64)')(lambda x: x + 1)(1) == 2\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_scans_from_several_threads_at_once() -> None:
    inputs = [None if t is None else t.float() for t in make_inputs(2, 40, 16, 200)]
    expected = selective_scan(*inputs, delta_softplus=True)
    results: list[Tensor] = []
    threads = [
        threading.Thread(target=lambda: results.append(selective_scan(*inputs, delta_softplus=True))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(torch.equal(expected, y) for y in results)


def test_every_task_runs_once_and_errors_reach_the_caller() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    done: list[int] = []

    def fail(i: int) -> None:
        if i == 5:
            raise ArithmeticError("piece 5")

    try:
        run_tasks(lambda: done.append, 100)
        with pytest.raises(ArithmeticError, match="piece 5"):
            run_tasks(lambda: fail, 10)
    finally:
        torch.set_num_threads(before)
    assert sorted(done) == list(range(100))
