"""``umseg doctor``: the devices and packages of this machine, and the choices that umseg makes for them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from umseg.common.text import counted
from umseg.kernels.scan import selective_scan
from umseg.kernels.scan.interface import OBSTACLES, choose_backend, fitting_backends
from umseg.kernels.scan.reference import scan as reference
from umseg.models.device import PRECISIONS, resolve_precision


def device_lines() -> Iterator[str]:
    """The second part of the report, line by line, because the trial of a scan takes a while."""
    yield from ("", "Devices")
    for device in _devices():
        yield f"  {device}: {_describe(device)}"
        yield from (f"    {line}" for line in _decisions(device))
    if not torch.cuda.is_available():
        gpu = torch.device("cuda")
        yield f"  cuda: none; {_why_no_gpu()}"
        yield from (f"    {line}" for line in (f"selective scan: would be {choose_backend(gpu)}", *_why_no_faster(gpu)))


def _devices() -> list[torch.device]:
    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [torch.device(name) for name in names]


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        return (
            f"{found.name}, {_gigabytes(found.total_memory)}, compute capability {found.major}.{found.minor}, "
            f"{found.multi_processor_count} multiprocessors, CUDA {torch.version.cuda or 'none (ROCm)'}"
        )
    if device.type == "mps":
        return "Apple GPU"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()
    memory = _gigabytes(psutil.virtual_memory().total)
    return f"{_cpu_name()}, {counted(cores or 1, 'core')}, {counted(torch.get_num_threads(), 'thread')}, {memory}"


def _cpu_name() -> str:
    # Python's platform module knows no CPU's name on Linux, nor does psutil.
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.0f} GB"


def _why_no_gpu() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return "this PyTorch was built without CUDA; see https://pytorch.org/get-started to install one with CUDA"
    return "PyTorch finds no GPU; check that nvidia-smi lists one and that its driver is recent enough"


def _decisions(device: torch.device) -> list[str]:
    precision = resolve_precision("auto", device)
    name = next(name for name, dtype in PRECISIONS.items() if dtype == precision)
    reason = " (no bfloat16 in hardware)" if name != "bf16" else ""
    lines = [f"precision auto: {name}{reason}", f"selective scan: {choose_backend(device)}, {_trial(device)}"]
    return [*lines, *_why_no_faster(device)]


def _why_no_faster(device: torch.device) -> list[str]:
    """The reasons why the backends that are preferred to the chosen one cannot run."""
    fitting = fitting_backends(device)
    if fitting == ["reference"]:
        return [f"there is no faster scan for {device.type}; nnunet and --no-ssm need none"]
    lines = []
    for name in fitting[: fitting.index(choose_backend(device))]:
        obstacle = OBSTACLES[name]
        if obstacle is not None:
            lines.append(f"not {name}: {obstacle.reason}; {obstacle.remedy}")
    return lines


def _trial(device: torch.device) -> str:
    """Run a small scan and compare it with the reference, because an installed package may still fail to load."""
    generator = torch.Generator().manual_seed(0)
    u, delta, B, C = (torch.rand(1, size, 70, generator=generator) for size in (4, 4, 8, 8))
    A = -torch.rand(4, 8, generator=generator)
    expected = reference(u, delta, A, B, C, None, None, None, False)
    try:
        u, delta, A, B, C = (t.to(device) for t in (u, delta, A, B, C))
        found = selective_scan(u, delta, A, B, C)
    except Exception as error:  # the report shows whatever another package or a compiler raises
        return f"which FAILS here: {type(error).__name__}: {error}"
    difference = float((found.cpu() - expected).norm() / expected.norm())
    return "works" if difference < 1e-5 else f"which is WRONG here: relative error {difference:.1e}"
