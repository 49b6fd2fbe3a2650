"""The selective scan on a CPU in comparison with a convolution on the same voxels.

    python -m benchmarks.scan [--batch 2 --channels 64 --states 16 --length 89600 --threads 2 --repeats 5]

The figures are the time of the scan (with gate, skip, bias and softplus) over that of ``Conv3d(32, 32, 3, padding=1)``,
and the scan's backward pass over the convolution's forward and backward pass, all interleaved in one run; the time of
the plain loop in torch over that of the scan at a tenth of the length; and the extra memory at its peak over the bytes
of inputs and outputs. ``scan_cuda`` measures the scan on a GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.common import Row, module_command, seconds, show
from umseg.kernels.scan import selective_scan


def make_inputs(batch: int, channels: int, states: int, length: int) -> list[Tensor]:
    """The inputs u, delta, A, B, C, D, z, bias with the values of a Mamba block at its initialisation."""
    generator = torch.Generator().manual_seed(0)

    def sequence(size: int) -> Tensor:
        return torch.randn(batch, length, size, generator=generator).transpose(1, 2)

    u, delta, z = (sequence(channels) for _ in range(3))
    rates = -torch.arange(1.0, states + 1).repeat(channels, 1)
    bias = torch.full((channels,), -4.6)
    return [u, delta, rates, sequence(states), sequence(states), torch.ones(channels), z, bias]


def run_scan(inputs: list[Tensor], backend: str = "auto") -> Tensor:
    """Run the scan that is measured, with every option."""
    u, delta, A, B, C, D, z, bias = inputs
    return selective_scan(u, delta, A, B, C, D, z, bias, delta_softplus=True, backend=backend)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Times of the scan and of the convolution, and of the plain loop."""
    batch, length = arguments.batch, arguments.length
    inputs = make_inputs(batch, arguments.channels, arguments.states, length)
    tracked = [t.clone().requires_grad_() for t in inputs]
    gradient = torch.randn_like(inputs[0])
    convolution = nn.Conv3d(32, 32, 3, padding=1)
    voxels = torch.randn(batch, 32, 40, 56, length // 2240, requires_grad=True)
    upstream = torch.randn_like(voxels)
    times: dict[str, list[float]] = {"conv": [], "conv both": [], "scan": [], "scan keep": [], "scan backward": []}
    for _ in range(arguments.repeats + 1):
        with torch.no_grad():
            times["conv"].append(seconds(lambda: convolution(voxels)))
            times["scan"].append(seconds(lambda: run_scan(inputs)))
        times["conv both"].append(seconds(lambda: convolution(voxels).backward(upstream)))
        start = time.perf_counter()
        y = run_scan(tracked)
        times["scan keep"].append(time.perf_counter() - start)
        times["scan backward"].append(seconds(lambda y=y: torch.autograd.grad(y, tracked, gradient)))  # type: ignore[misc]
    # The first round is left out: it compiles, and touches memory for the first time.
    best = {name: min(values[1:]) for name, values in times.items()}
    short = make_inputs(batch, arguments.channels, arguments.states, length // 10)
    with torch.no_grad():
        fast = min(seconds(lambda: run_scan(short)) for _ in range(5))
        slow = min(seconds(lambda: run_scan(short, "reference")) for _ in range(2))
    work = batch * arguments.channels * length
    rows: list[Row] = [
        {
            "what": title,
            "ms": 1e3 * best[name],
            "ratio": best[name] / best[base],
            "ns per token and channel": 1e9 * best[name] / work if name.startswith("scan") else None,
        }
        for title, name, base in (
            ("Conv3d forward", "conv", "conv"),
            ("Conv3d forward and backward", "conv both", "conv both"),
            ("scan forward", "scan", "conv"),
            ("scan forward, for training", "scan keep", "conv"),
            ("scan backward", "scan backward", "conv both"),
        )
    ]
    loop = "plain loop, over the scan at a tenth of the length"
    return [*rows, {"what": loop, "ms": 1e3 * slow, "ratio": slow / fast, "ns per token and channel": None}]


def measure_memory(arguments: argparse.Namespace) -> str:
    """The peak memory of forward and backward pass above the inputs, as JSON.

    It needs a separate process, because the peak of a process never falls.
    """
    inputs = [t.requires_grad_() for t in make_inputs(arguments.batch, arguments.channels, arguments.states, 64)]
    torch.autograd.grad(run_scan(inputs).sum(), inputs)
    sizes = arguments.batch, arguments.channels, arguments.states, arguments.length
    inputs = [t.requires_grad_() for t in make_inputs(*sizes)]
    gradient = torch.ones_like(inputs[0])
    before = peak_bytes()
    y = run_scan(inputs)
    torch.autograd.grad(y, inputs, gradient)
    extra = peak_bytes() - before
    held = sum(t.numel() * t.element_size() for t in [*inputs, y])
    return json.dumps({"MiB": extra / 2**20, "share": extra / held})


def peak_bytes() -> int:
    """The largest resident size so far in bytes, from /proc on Linux and from getrusage elsewhere."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("batch", 2), ("channels", 64), ("states", 16), ("length", 89600), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.only_memory:
        print(measure_memory(arguments))
        return []
    rows = measure(arguments)
    command = module_command("scan", *sys.argv[1:], "--only-memory")
    memory = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    title = f"extra memory, forward and backward: {memory['MiB']:.0f} MiB, over inputs and output"
    return [*rows, {"what": title, "ms": None, "ratio": memory["share"], "ns per token and channel": None}]


if __name__ == "__main__":
    show(main())
