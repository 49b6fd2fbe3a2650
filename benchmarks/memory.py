"""Memory of a training step, measured and as ``umseg plan`` and ``umseg models`` expect it.

    python -m benchmarks.memory [--model umamba_enc] [--real]

Two training steps like those of the trainer (forward pass, loss with deep supervision, backward pass, momentum) run
under a mode that sees every operator and counts the bytes of all storages alive (``umseg.models.measured_memory``). The
benchmark prints the peak of the second step. By default the tensors are fake, with shapes but no data, so that a step
of 25 GB takes a few seconds and no memory. Memory that an operator allocates and frees within itself is not seen.

For U-Nets the expected memory is counted from their description. For all other networks umseg measures it in the same
way, but in a single step, with a separate loss and optimiser.

The figures for ``cuda`` need no GPU: the operators that a GPU would run (torch's instance norm, padding and
convolution, and mamba-ssm's scan, whose kept tensors are imitated by shape) run on fake CPU tensors, and autocast
rounds where it would on a GPU. On a machine with a GPU ``--real`` reports ``torch.cuda.max_memory_allocated`` for them;
on other machines it leaves them out.

The constants for U-Nets were fitted to the pairs marked "fit"; the fit did not use those marked "held out".
"""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umseg.architectures.memory.layers import Device, Precision
from umseg.architectures.registry import NETWORKS, network_spec
from umseg.kernels.runtime.memory_format import channels_last
from umseg.kernels.runtime.torch_private import fake_tensors, real_tensors
from umseg.models import norm
from umseg.models.device import autocast
from umseg.models.measured_memory import LiveBytes, MemoryMeter, gpu_autocast, without_data
from umseg.models.norm import InstanceNormAct
from umseg.models.registry import MODELS, ModelOptions, build_network, fit_configuration
from umseg.planning.plan import Configuration
from umseg.planning.rules.topology import plan_topology
from umseg.planning.stages import configuration_stages
from umseg.planning.training_memory import training_memory
from umseg.training.config.training_config import TrainingConfig
from umseg.training.loss.segmentation import SegmentationLoss
from umseg.training.loss.targets import Targets
from umseg.training.optim.optimizer import build_optimizers


@dataclass(frozen=True)
class Data:
    """The plan, channels and classes of a data set."""

    configuration: Configuration
    in_channels: int
    num_classes: int


@dataclass(frozen=True)
class Case:
    """One network on one plan.

    Attributes:
        plan: Key of ``PLANS``.
        model: Name of the network.
        ssm: Whether the network has its Mamba layers.
        precision: Number format: ``mixed`` (bfloat16) or ``fp32``.
        device: Device: ``cpu``, or ``cuda`` for the operators of a GPU.
    """

    plan: str
    model: str
    ssm: bool = True
    precision: Precision = "mixed"
    device: Device = "cuda"

    @property
    def name(self) -> str:
        """The names of model and plan in the table."""
        return f"{self.model}{'' if self.ssm else ' --no-ssm'}, {self.plan}"


def _data(spacing: Sequence[float], patch: Sequence[int], batch: int, in_channels: int, num_classes: int) -> Data:
    """A plan for this patch, with the usual channels and two convolutions per stage."""
    topology, axes = plan_topology(spacing, patch), len(patch)
    widest = 320 if axes == 3 else 512
    stages = topology.num_stages
    configuration = Configuration(
        spacing=tuple(spacing),
        median_image_size_in_voxels=tuple(patch),
        patch_size=topology.patch_size,
        batch_size=batch,
        normalization_schemes=("ZScoreNormalization",) * in_channels,
        use_mask_for_norm=(False,) * in_channels,
        batch_dice=False,
        features_per_stage=tuple(min(32 * 2**stage, widest) for stage in range(stages)),
        kernel_sizes=topology.kernel_sizes,
        strides=topology.strides,
        num_pool_per_axis=topology.num_pool_per_axis,
        n_conv_per_stage=(2,) * stages,
        n_conv_per_stage_decoder=(2,) * (stages - 1),
    )
    return Data(configuration, in_channels, num_classes)


PLANS = {
    "tiny": _data((1, 1, 1), (16, 16, 16), 2, 1, 3),
    "hippocampus": _data((1, 1, 1), (40, 56, 40), 7, 1, 3),
    "thin slabs": _data((4, 1, 1), (16, 128, 96), 2, 1, 3),
    "small 2-D": _data((1, 1), (256, 192), 12, 1, 3),
    "small cube": _data((1, 1, 1), (48, 48, 48), 2, 4, 5),
    "100 classes": _data((1, 1, 1), (64, 64, 64), 2, 1, 100),
    "2-D, 100 classes": _data((1, 1), (64, 80), 16, 3, 100),
    "cube 128": _data((1, 1, 1), (128, 128, 128), 2, 4, 4),
    "AbdomenCT 3-D": _data((2.5, 0.8, 0.8), (40, 224, 192), 2, 1, 14),
    "AbdomenMR 3-D": _data((3, 1.2, 1.2), (48, 160, 224), 2, 1, 14),
    "AbdomenMR 2-D": _data((1.2, 1.2), (320, 320), 30, 1, 14),
    "Endoscopy 2-D": _data((1, 1), (384, 640), 13, 3, 8),
    "Microscopy 2-D": _data((1, 1), (512, 512), 12, 3, 3),
}
"""Plans by name; the last five are those of the paper's Table 2."""

_MODELS = tuple(name for name, spec in NETWORKS.items() if spec.describe is not None)
_BASELINES = ("segresnet", "unetr", "swin_unetr")
_FIT_PLANS = ("hippocampus", "thin slabs", "small 2-D")
_DEVICES: tuple[Device, ...] = ("cpu", "cuda")

_MODES: tuple[tuple[Device, Precision], ...] = (("cuda", "mixed"), ("cuda", "fp32"), ("cpu", "mixed"))

FIT = tuple(Case(plan, model, device=device) for device in _DEVICES for plan in _FIT_PLANS for model in _MODELS)

QUICK_HELD_OUT = (
    Case("small cube", "nnunet"),
    Case("small cube", "umamba_bot", device="cpu"),
    Case("small cube", "umamba_enc"),
    Case("100 classes", "nnunet", device="cpu"),
    Case("100 classes", "umamba_enc"),
    Case("100 classes", "umamba_enc", ssm=False),
    Case("2-D, 100 classes", "umamba_bot"),
    Case("2-D, 100 classes", "umamba_enc", device="cpu"),
    Case("small cube", "umamba_enc", precision="fp32"),
    Case("hippocampus", "umamba_bot", ssm=False),
    Case("2-D, 100 classes", "umamba_enc_released"),
    Case("small cube", "umamba_bot_released", device="cpu"),
    Case("small cube", "nnunet_resenc"),
    Case("100 classes", "nnunet_resenc", device="cpu"),
)

_LARGE_PLANS = tuple(plan for plan in PLANS if plan.startswith(("cube 128", "Abdomen", "Endoscopy", "Microscopy")))

LARGE_HELD_OUT = tuple(
    Case(plan, model, device=device) for device in _DEVICES for plan in _LARGE_PLANS for model in _MODELS
)

MONAI = tuple(
    Case(plan, model, device=device, precision=precision)
    for device, precision in _MODES
    for plan in ("hippocampus", "2-D, 100 classes", "AbdomenCT 3-D")
    for model in _BASELINES
)


def predict(case: Case) -> int:
    """The memory that umseg expects, without its allowance for memory that no operator allocates."""
    data = PLANS[case.plan]
    expected = training_memory(
        case.model,
        data.configuration,
        data.in_channels,
        data.num_classes,
        ssm=case.ssm,
        precision=case.precision,
        device=case.device,
        measure=MemoryMeter(),
    )
    return expected.total - expected.allowance


class _Scan(torch.autograd.Function):
    """The tensors of mamba-ssm's scan by shape: inputs, copied where time is not innermost, and states per 2048."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        u, delta, A, B, C, D, z, bias = inputs
        u, delta, B, C, z = (t.contiguous() for t in (u, delta, B, C, z))
        chunks = -(-u.shape[2] // 2048)
        states = u.new_empty(*u.shape[:2], chunks, 2 * A.shape[1])
        ctx.save_for_backward(u, delta, A, B, C, D, z, bias, states, torch.empty_like(u))
        return torch.empty_like(u)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        kept = ctx.saved_tensors[:8]
        grad = grad.contiguous()
        return tuple(torch.empty_like(t) for t in kept)


def _scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, delta_bias: Tensor, **_: bool
) -> Tensor:
    out: Tensor = _Scan.apply(u, delta, A, B, C, D, z, delta_bias)  # type: ignore[no-untyped-call]
    return out


def _norm(self: InstanceNormAct, x: Tensor, residual: Tensor | None = None) -> Tensor:
    x = F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
    x = x if residual is None else x + residual
    return x if self.slope == 1 else F.leaky_relu_(x, self.slope)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.silu(F.conv1d(F.pad(x, (weight.shape[-1] - 1, 0)), weight, bias, groups=x.shape[1]))


@contextlib.contextmanager
def gpu_operators() -> Iterator[None]:
    """A block in which the operators that would run on a GPU run on fake CPU tensors."""
    with (
        gpu_autocast(),
        mock.patch.object(norm.InstanceNormAct, "forward", _norm),
        mock.patch("umseg.models.unet.recomputing", return_value=contextlib.nullcontext()),
        mock.patch("umseg.models.fused_upsampling.WORTH", math.inf),
        mock.patch("umseg.models.mamba.causal_conv1d_silu", _convolution),
        mock.patch("umseg.models.mamba.selective_scan", _scan),
    ):
        yield


def measure(case: Case, fake: bool = True) -> int:
    """Number of bytes at the peak of the second training step."""
    if not fake and case.device == "cuda":
        return _measure_cuda(case)
    operators = gpu_operators() if case.device == "cuda" else contextlib.nullcontext()
    mode: AbstractContextManager[object] = fake_tensors() if fake else contextlib.nullcontext()
    peak = 0
    with mode, operators, LiveBytes() as memory:
        for _ in _steps(case, torch.device("cpu")):
            peak, memory.peak = memory.peak, memory.live
    return peak


def _measure_cuda(case: Case) -> int:
    peak = 0
    for _ in _steps(case, torch.device("cuda")):
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    return peak


def _steps(case: Case, device: torch.device) -> Iterator[None]:
    """Run two training steps in the order of the trainer."""
    data = PLANS[case.plan]
    data = replace(data, configuration=fit_configuration(case.model, data.configuration))
    network = _network(case, data, device)
    # ``place`` cannot be used, because fake parameters cannot be moved.
    for parameter in network.parameters():
        if parameter.dim() in (4, 5):
            parameter.data = channels_last(parameter.data)
    optimizer = build_optimizers(network, TrainingConfig())[0]
    precision = torch.bfloat16 if case.precision == "mixed" else torch.float32
    for _ in range(2):
        # Output and target stay until the next step replaces them, as they do in the trainer.
        optimizer.zero_grad(set_to_none=True)
        loss, output, target = _loss(network, data, device, precision)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
        yield
    del output, target


def _network(case: Case, data: Data, device: torch.device) -> nn.Module:
    options = ModelOptions(ssm=case.ssm)
    arguments = (case.model, data.configuration, data.in_channels, data.num_classes, True, options)
    if network_spec(case.model).describe is not None or device.type == "cuda":
        with device:
            return build_network(*arguments)
    # MONAI reads values while it builds a network, so that its networks need real weights first.
    with real_tensors():
        network = build_network(*arguments)
    without_data(network)
    return network


def _loss(
    network: nn.Module, data: Data, device: torch.device, precision: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a batch, and the output and target at full resolution."""
    configuration = data.configuration
    batch = configuration.batch_size
    images = channels_last(torch.randn(batch, data.in_channels, *configuration.patch_size, device=device))
    heads = max(1, configuration.num_stages - 1)
    sizes = [stage.size for stage in configuration_stages(configuration)][:heads]
    targets = [torch.zeros(batch, *size, dtype=torch.int64, device=device) for size in sizes]
    with autocast(device, precision):
        outputs = network(images)
        classes = Targets(tuple(map(str, range(1, data.num_classes))))
        loss = SegmentationLoss(classes, configuration.batch_dice)(outputs, targets[: len(outputs)])
    return loss, outputs[0], targets[0]


def print_table(title: str, cases: Sequence[Case], real: bool) -> None:
    """Print a table with one row per case; GB are 10^9 bytes."""
    print(f"\n{title:44}{'device':8}{'precision':11}{'measured GB':>12}{'predicted GB':>14}{'ratio':>8}")
    for case in cases:
        if real and case.device == "cuda" and not torch.cuda.is_available():
            continue
        measured, predicted = measure(case, fake=not real), predict(case)
        print(f"{case.name:44}{case.device:8}{case.precision:11}"
              f"{measured / 1e9:12.3f}{predicted / 1e9:14.3f}{predicted / measured:8.3f}", flush=True)  # fmt: skip


def main() -> None:
    """Parse the arguments and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(MODELS), help="the only model to measure")
    parser.add_argument("--real", action="store_true", help="compute with real tensors; leaves out the large plans")
    arguments = parser.parse_args()
    tables = {
        "fit": FIT,
        "held out": QUICK_HELD_OUT,
        "held out, large": () if arguments.real else LARGE_HELD_OUT,
        "networks of MONAI": () if arguments.real else MONAI,
    }
    for title, cases in tables.items():
        chosen = [case for case in cases if arguments.model in (None, case.model)]
        if chosen:
            print_table(title, chosen, arguments.real)


if __name__ == "__main__":
    main()
