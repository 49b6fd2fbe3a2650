"""Training on an NVIDIA GPU at the paper's plan for abdominal CT, data loading included.

    python -m benchmarks.training_cuda --scratch DIR [--models umamba_enc umamba_bot nnunet] [--iterations 50]
                                       [--precision bf16] [--augmentation cpu] [--workers 8] [--operators]

The data are generated: CT-like volumes of 95x512x512 voxels of 2.5x0.8x0.8 mm with 13 classes, planned with the patch
and batch of the paper's Table 2. The figures of each model, after a warm-up, are the wall time per iteration, the share
of it in which the loop waited for a batch, the share in which the GPU computed (kernels and copies as torch's profiler
sees them, in ten more iterations), and the peak of the memory that tensors held. ``--operators`` lists the operators
that took longest.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from benchmarks.preprocess import generate
from benchmarks.training import training
from umseg.planning import Overrides
from umseg.training.config.training_config import TrainingConfig
from umseg.workflows.plan import plan_dataset

SHAPE, SPACING, CLASSES, CASES = (95, 512, 512), (2.5, 0.8, 0.8), 13, 6
PATCH, BATCH = (40, 224, 192), 2
WARM_UP, PROFILED = 10, 10


def prepare(scratch: Path, workers: int) -> Path:
    """Generate and plan the data, unless an earlier run has done it, and return the workspace."""
    dataset = generate(scratch / "Dataset902_CT", CASES, SHAPE, SPACING, CLASSES)
    workspace = scratch / "umseg" / dataset.name
    if not (workspace / "preprocessed" / "3d_fullres").is_dir():
        plan_dataset(
            dataset,
            workspace.parent,
            configurations=["3d_fullres"],
            overrides=Overrides(patch_size=PATCH, batch_size=BATCH),
            workers=workers,
            quiet=True,
        )
    return workspace


def busy_seconds(found: profile) -> float:
    """Number of seconds in which the GPU was busy; work that overlaps counts once."""
    on_gpu = (e.time_range for e in found.events() if e.device_type == DeviceType.CUDA)
    spans = sorted((span.start, span.end) for span in on_gpu)
    total, last = 0.0, 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, last))
        last = max(last, end)
    return total / 1e6


def measure(workspace: Path, config: TrainingConfig, iterations: int, workers: int, operators: bool) -> None:
    """Measure one model and print its figures on a line."""
    waited = 0.0
    with training(workspace, config, torch.device("cuda"), workers) as (trainer, batches):

        def iterate(count: int) -> float:
            """Wall time of ``count`` iterations in seconds."""
            nonlocal waited
            start = time.perf_counter()
            for _ in range(count):
                asked = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - asked
                trainer.step(batch)
            torch.cuda.synchronize()
            return time.perf_counter() - start

        torch.backends.cudnn.benchmark = True
        iterate(WARM_UP)
        waited = 0.0
        torch.cuda.reset_peak_memory_stats()
        seconds, share = iterate(iterations), waited
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
            profiled = iterate(PROFILED)
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"{config.model:12}{seconds / iterations:8.3f} s per iteration, {share / seconds:4.0%} waiting for data, "
          f"GPU busy {busy_seconds(found) / profiled:4.0%}, {peak:6.2f} GiB", flush=True)  # fmt: skip
    if operators:
        print(found.key_averages().table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=70))


def main() -> None:
    """Parse the arguments and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["umamba_enc", "umamba_bot", "nnunet"])
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--augmentation", default="cpu", choices=["cpu", "gpu", "none"])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--operators", action="store_true")
    given = parser.parse_args()
    workspace = prepare(given.scratch, given.workers)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, patch {PATCH}, batch {BATCH}, "
          f"{given.precision}, --augmentation {given.augmentation}, {given.workers} workers")  # fmt: skip
    for model in given.models:
        config = TrainingConfig(
            configuration="3d_fullres", model=model, precision=given.precision, augmentation=given.augmentation
        )
        measure(workspace, config, given.iterations, given.workers, given.operators)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
