from __future__ import annotations

import platform
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from umseg import __version__
from umseg.cli.app import app
from umseg.kernels.runtime.obstacles import Obstacle
from umseg.kernels.scan import interface
from umseg.reports import doctor


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An NVIDIA GPU as far as questions go; what runs on it runs on the CPU."""
    properties = SimpleNamespace(name="NVIDIA Test", total_memory=80e9, major=9, minor=0, multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(doctor, "_trial", lambda device: "works")


def test_the_verb_prints_versions_devices_and_decisions() -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert f"umseg {__version__}, Python {platform.python_version()}" in result.output
    for expected in (f"torch           {torch.__version__}", "numba ", "cpu: ", "precision auto: ", "scan: cpu, works"):
        assert expected in result.output


@pytest.mark.usefixtures("gpu")
def test_a_gpu_and_why_it_does_not_run_the_faster_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"triton": Obstacle("triton is not installed", "pip install it"), "mamba_ssm": None, "reference": None}
    monkeypatch.setattr(interface, "OBSTACLES", known | {"cpu": None})
    monkeypatch.setattr(doctor, "OBSTACLES", known)
    report = "\n".join(doctor.device_lines())
    assert "cuda:0: NVIDIA Test, 80 GB, compute capability 9.0, 132 multiprocessors" in report
    gpu = report.partition("cuda:0")[2]
    assert "precision auto: bf16" in gpu
    assert "selective scan: mamba_ssm, works" in gpu
    assert "not triton: triton is not installed; pip install it" in gpu
    assert "cuda: none" not in report


@pytest.mark.parametrize(
    ("cuda", "reason"), [(None, "this PyTorch was built without CUDA"), ("13.0", "PyTorch finds no GPU; check that")]
)
def test_why_there_is_no_gpu(cuda: str | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    report = "\n".join(doctor.device_lines())
    assert f"cuda: none; {reason}" in report
    assert "selective scan: would be " in report


def test_a_device_without_a_kernel_says_so() -> None:
    assert "there is no faster scan for mps" in doctor._why_no_faster(torch.device("mps"))[0]


def test_a_scan_that_fails_or_is_wrong_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ImportError("undefined symbol")

    cpu = torch.device("cpu")
    monkeypatch.setattr(doctor, "selective_scan", fail)
    assert doctor._trial(cpu) == "which FAILS here: ImportError: undefined symbol"
    monkeypatch.setattr(doctor, "selective_scan", lambda u, *_: 0 * u)
    assert doctor._trial(cpu) == "which is WRONG here: relative error 1.0e+00"
