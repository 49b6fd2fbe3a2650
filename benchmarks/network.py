"""Training step and inference of the networks on the hippocampus plan on a CPU, compared with nnU-Net's network.

    python -m benchmarks.network [--rounds 3] [--threads N] [--peer VENV]

The figures are seconds per training step (batch 7: forward pass, loss, backward pass, clipping, SGD) and per inference
(batch 7, no gradients), and ratios: with Mamba layers over without them, and, given a virtual environment with
nnunetv2, `nnunet` in bfloat16 over nnU-Net's own network in float32, as its CPU mode runs it. All networks take turns
in one run, each time in a separate process, so that the memory settings of umseg do not help its peer and no idle
process holds memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import Row, module_command, show

STEPS = 3
"""Number of steps that are timed in succession, after one step to warm up."""
PATCH, BATCH, CLASSES = (40, 56, 40), 7, 3
FEATURES = (32, 64, 128, 256)
STRIDES = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
VARIANTS = {
    "umamba_enc fp32": ("umamba_enc", True, "fp32"),
    "umamba_enc --no-ssm fp32": ("umamba_enc", False, "fp32"),
    "nnunet fp32": ("nnunet", True, "fp32"),
    "umamba_enc bf16": ("umamba_enc", True, "bf16"),
    "umamba_enc --no-ssm bf16": ("umamba_enc", False, "bf16"),
    "nnunet bf16": ("nnunet", True, "bf16"),
}
THEIRS = "nnU-Net fp32"
RATIOS = [
    ("umamba_enc fp32", "umamba_enc --no-ssm fp32"),
    ("umamba_enc bf16", "umamba_enc --no-ssm bf16"),
    ("umamba_enc fp32", "nnunet fp32"),
    ("nnunet bf16", THEIRS),
]
COLUMNS = ("train, s", "infer, s")
# nnU-Net's network is built from its public class with the arguments in its plan for these data.
PEER = f"""
import json, time, torch
from torch import nn
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
torch.manual_seed(0)
network = PlainConvUNet(1, 4, {FEATURES}, nn.Conv3d, ((3, 3, 3),) * 4, {STRIDES}, (2,) * 4, {CLASSES}, (2,) * 3,
    conv_bias=True, norm_op=nn.InstanceNorm3d, norm_op_kwargs=dict(eps=1e-5, affine=True), nonlin=nn.LeakyReLU,
    nonlin_kwargs=dict(inplace=True), deep_supervision=True)
optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
data = torch.randn({BATCH}, 1, *{PATCH})
sizes = [tuple(n // 2**i for n in {PATCH}) for i in range(3)]
targets = [torch.randint({CLASSES}, ({BATCH}, 1, *size)) for size in sizes]
dice = MemoryEfficientSoftDiceLoss(apply_nonlin=lambda x: torch.softmax(x, 1), batch_dice=False, do_bg=False,
    smooth=1e-5, ddp=False)
def train():
    network.train(); network.decoder.deep_supervision = True
    optimizer.zero_grad(set_to_none=True)
    loss = sum(w * (dice(o, t.float()) + nn.functional.cross_entropy(o, t[:, 0]))
        for w, o, t in zip((2 / 3, 1 / 3), network(data), targets))
    loss.backward(); nn.utils.clip_grad_norm_(network.parameters(), 12); optimizer.step()
def infer():
    network.eval(); network.decoder.deep_supervision = False
    with torch.inference_mode(): network(data)
times = {{}}
for name, step in (("train", train), ("infer", infer)):
    step(); times[name] = []
    for _ in range({STEPS}):
        start = time.perf_counter(); step(); times[name].append(time.perf_counter() - start)
print(json.dumps(times))
"""


def steps(model: str, ssm: bool, precision: str) -> dict[str, Callable[[], object]]:
    """A training step and an inference of one variant of umseg's networks."""
    import torch

    from umseg.kernels.runtime.memory_format import channels_last
    from umseg.models import ModelOptions, build_network
    from umseg.models.device import autocast, place, resolve_precision
    from umseg.planning import Configuration
    from umseg.training.config.training_config import TrainingConfig
    from umseg.training.loss.segmentation import SegmentationLoss
    from umseg.training.loss.targets import Targets
    from umseg.training.optim.optimizer import build_optimizers

    configuration = Configuration(
        spacing=(1.0,) * 3,
        median_image_size_in_voxels=(36.0, 50.0, 35.0),
        patch_size=PATCH,
        batch_size=BATCH,
        normalization_schemes=("ZScoreNormalization",),
        use_mask_for_norm=(False,),
        batch_dice=False,
        features_per_stage=FEATURES,
        kernel_sizes=((3, 3, 3),) * 4,
        strides=STRIDES,
        num_pool_per_axis=(3, 3, 3),
        n_conv_per_stage=(2,) * 4,
        n_conv_per_stage_decoder=(2,) * 3,
    )
    torch.manual_seed(0)
    device, options = torch.device("cpu"), ModelOptions(ssm=ssm)
    number_format = resolve_precision(precision, device)
    network = place(build_network(model, configuration, 1, CLASSES, True, options), device)
    (optimizer,) = build_optimizers(network, TrainingConfig(model=model, options=options))
    data = channels_last(torch.randn(BATCH, 1, *PATCH))
    targets = [torch.randint(CLASSES, (BATCH, *(n // 2**level for n in PATCH))) for level in range(3)]

    criterion = SegmentationLoss(Targets(tuple(map(str, range(1, CLASSES)))), batch_dice=False)

    def train() -> None:
        network.train().deep_supervision = True  # type: ignore[assignment]
        with autocast(device, number_format):
            loss = criterion(network(data), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimizer.step()

    def infer() -> None:
        network.eval().deep_supervision = False  # type: ignore[assignment]
        with torch.inference_mode(), autocast(device, number_format):
            network(data)

    return {"train": train, "infer": infer}


def measure(variant: str) -> dict[str, list[float]]:
    """Times in seconds of training steps and inferences of a variant of umseg's networks."""
    from umseg.common.memory import keep_freed_memory

    keep_freed_memory()
    times: dict[str, list[float]] = {}
    for kind, step in steps(*VARIANTS[variant]).items():
        step()
        for _ in range(STEPS):
            start = time.perf_counter()
            step()
            times.setdefault(kind, []).append(time.perf_counter() - start)
    return times


def in_process(command: list[str], threads: int | None) -> dict[str, list[float]]:
    """Run a command in a separate process and return the times on the last line that it prints."""
    environment = dict(os.environ)
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    times: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return times


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", type=Path, help="virtual environment with nnunetv2")
    parser.add_argument("--threads", type=int, help="threads per process; the number of cores by default")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(measure(arguments.variant)))
        return []
    commands = {name: module_command("network", "--variant", name) for name in VARIANTS}
    if arguments.peer:
        commands[THEIRS] = [str(arguments.peer.absolute() / "bin" / "python"), "-c", PEER]
    times: dict[str, dict[str, list[float]]] = {name: {"train": [], "infer": []} for name in commands}
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            for kind, seconds in in_process(command, arguments.threads).items():
                times[name][kind] += seconds
    rows: list[Row] = [
        {"network": name, **{f"{kind}, s": statistics.median(values) for kind, values in kinds.items()}}
        for name, kinds in times.items()
    ]
    medians = {str(row["network"]): row for row in rows}
    for mine, other in RATIOS:
        if other in medians:
            both = {key: float(medians[mine][key] or 0) / float(medians[other][key] or 1) for key in COLUMNS}
            rows.append({"network": f"{mine} / {other}", **both})
    return rows


if __name__ == "__main__":
    show(main())
