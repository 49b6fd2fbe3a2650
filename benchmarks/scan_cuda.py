"""The selective scan on an NVIDIA GPU at the shapes of U-Mamba_Enc: ``python -m benchmarks.scan_cuda [--repeats 5]``.

The benchmark covers the stages of the five plans of the paper's Table 2 that have a Mamba layer in the released code,
each in the forward pass alone and in forward and backward pass. The figures are the time of ``triton`` over the floor
(every input read once, every output written once, at the bandwidth measured by copying) and over ``mamba_ssm``, each
backend with inputs in the memory layout that suits it, and the memory of both at their peak, inputs included. Times are
medians by CUDA events; the cache is emptied before each run.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.common import Row, show
from umseg.kernels.scan import available_backends, selective_scan

# Plan, batch, and (features, tokens) per Mamba layer (docs/rules.md, Networks); the last stages scan over channels. The
# scan has two channels per feature.
_ENC_3D = [(32, 1_720_320), (64, 430_080), (128, 53_760), (256, 6_720), (320, 840), (210, 320)]
PLANS = {
    "Abdomen CT": (2, _ENC_3D),
    "Abdomen MR 3D": (2, _ENC_3D),  # 48 x 160 x 224 has as many voxels as 40 x 224 x 192, in every stage
    "Abdomen MR 2D": (30, [(32, 102_400), (128, 6_400), (400, 512), (25, 512)]),
    "Endoscopy": (13, [(32, 245_760), (128, 15_360), (512, 960), (60, 512)]),
    "Microscopy": (12, [(64, 65_536), (256, 4_096), (256, 512), (16, 512)]),
}
STATES = 16


def make_inputs(batch: int, channels: int, length: int, channels_innermost: bool) -> list[Tensor]:
    """The inputs u, delta, A, B, C, D, z, bias with the values of a Mamba block at its initialisation."""

    def sequence(size: int) -> Tensor:
        shape = (batch, length, size) if channels_innermost else (batch, size, length)
        values = torch.randn(shape, device="cuda")
        return values.transpose(1, 2) if channels_innermost else values

    u, delta, z = (sequence(channels) for _ in range(3))
    rates = -torch.arange(1.0, STATES + 1, device="cuda").repeat(channels, 1)
    bias = torch.full((channels,), -4.6, device="cuda")
    inputs = [u, delta, rates, sequence(STATES), sequence(STATES), torch.ones(channels, device="cuda"), z, bias]
    return [t.requires_grad_() for t in inputs]


def milliseconds(function: Callable[[], object], repeats: int, sweep: Tensor) -> float:
    """The median time of a call in milliseconds, with a cache that holds none of its inputs."""
    times: list[float] = []
    for _ in range(repeats + 3):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        sweep.zero_()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times[3:])


def measure(backend: str, batch: int, channels: int, length: int, repeats: int, sweep: Tensor) -> list[float]:
    """Milliseconds and peak MiB of the forward pass, then of forward and backward pass."""
    inputs = make_inputs(batch, channels, length, backend == "triton")
    u, delta, A, B, C, D, z, bias = inputs
    upstream = torch.randn_like(u)

    def forward() -> Tensor:
        return selective_scan(u, delta, A, B, C, D, z, bias, delta_softplus=True, backend=backend)

    def forward_only() -> None:
        with torch.no_grad():
            forward()

    figures = []
    for function in (forward_only, lambda: torch.autograd.grad(forward(), inputs, upstream)):
        function()
        torch.cuda.reset_peak_memory_stats()
        figures += [milliseconds(function, repeats, sweep), (torch.cuda.max_memory_allocated() - sweep.numel()) / 2**20]
    return figures


def copy_bandwidth(repeats: int, sweep: Tensor) -> float:
    """Number of bytes read and written per millisecond."""
    source = torch.empty(2**29, dtype=torch.uint8, device="cuda")
    copied = torch.empty_like(source)
    return 2 * source.numel() / milliseconds(lambda: copied.copy_(source), repeats, sweep)


def run(repeats: int) -> list[Row]:
    """The figures of all layers."""
    sweep = torch.empty(2**28, dtype=torch.uint8, device="cuda")
    bandwidth = copy_bandwidth(repeats, sweep)
    peer = available_backends()["mamba_ssm"]
    print(f"copies at {bandwidth / 1e9:.2f} TB/s, mamba_ssm {'beside' if peer else 'not installed'}")
    rows: list[Row] = []
    for plan, (batch, stages) in PLANS.items():
        for features, length in stages:
            channels = 2 * features
            ours = measure("triton", batch, channels, length, repeats, sweep)
            theirs = measure("mamba_ssm", batch, channels, length, repeats, sweep) if peer else None
            token = batch * length * 4
            # The forward pass has u, delta, z, B, C and y. The backward pass has these without y, the gradient of y,
            # and five gradients.
            floors = [token * (4 * channels + 2 * STATES), token * (11 * channels + 6 * STATES)]
            for i, title in enumerate(("forward", "both")):
                ratios = [ours[2 * i + k] / theirs[2 * i + k] if theirs else None for k in (0, 1)]
                rows.append(
                    {
                        "plan": plan,
                        "batch": batch,
                        "channels": channels,
                        "tokens": length,
                        "pass": title,
                        "ms": ours[2 * i],
                        "over floor": ours[2 * i] * bandwidth / floors[i],
                        "over mamba_ssm": ratios[0],
                        "MiB": ours[2 * i + 1],
                        "MiB over mamba_ssm": ratios[1],
                    }
                )
    return rows


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    return run(parser.parse_args().repeats)


if __name__ == "__main__":
    show(main())
