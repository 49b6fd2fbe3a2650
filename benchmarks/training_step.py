"""Seconds per training step on this machine, for the plans that a preset makes for typical data.

    python -m benchmarks.training_step [--preset cpu] [--models umamba_enc umamba_bot nnunet] [--steps 4]

A step consists of forward pass, loss with deep supervision, backward pass, clipping and SGD on random images, as in the
trainer, in the precision that ``auto`` chooses. It does not include the making of batches. The constants of ``--preset
cpu`` were chosen with this benchmark.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from benchmarks.common import Row, show
from umseg.common.memory import keep_freed_memory
from umseg.dataset import DatasetDescription
from umseg.kernels.runtime.memory_format import channels_last
from umseg.models import ModelOptions, build_network
from umseg.models.device import autocast, place, resolve_precision
from umseg.planning import Configuration, Fingerprint, IntensityStatistics, make_plan
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.batches import deep_supervision_targets
from umseg.training.loss.segmentation import SegmentationLoss
from umseg.training.loss.targets import Targets
from umseg.training.optim.optimizer import build_optimizers

CLASSES = 4
# Configuration, and spacing and shape of every case, by name of the data.
DATA = {
    "hippocampus MR": ("3d_fullres", (1.0, 1.0, 1.0), (36, 50, 35)),
    "brain MR": ("3d_fullres", (1.0, 1.0, 1.0), (138, 169, 138)),
    "abdominal CT": ("3d_fullres", (2.5, 0.8, 0.8), (100, 512, 512)),
    "slices": ("2d", (2.5, 0.8, 0.8), (100, 512, 512)),
    "endoscopy": ("2d", (999.0, 1.0, 1.0), (1, 1080, 1920)),
}


def plan_for(preset: str, name: str, cases: int = 200) -> Configuration:
    """The configuration that the preset plans for data of this kind."""
    configuration, spacing, shape = DATA[name]
    zero = IntensityStatistics(mean=0, median=0, std=1, min=0, max=1, percentile_00_5=0, percentile_99_5=1)
    fingerprint = Fingerprint(
        dataset_name=name,
        spacings=(spacing,) * cases,
        shapes_after_crop=(shape,) * cases,
        foreground_intensity_properties_per_channel={"0": zero},
        median_relative_size_after_cropping=1.0,
        case_ids=tuple(map(str, range(cases))),
    )
    labels = {"background": 0, **{str(value): value for value in range(1, CLASSES)}}
    description = DatasetDescription(
        channel_names={"0": "MRI"}, labels=labels, numTraining=cases, file_ending=".nii.gz"
    )
    return make_plan(fingerprint, description, preset).configuration(configuration)


def seconds_per_step(model: str, configuration: Configuration, steps: int) -> float:
    """The median time of the steps in seconds, after one step that is not counted."""
    device = torch.device("cpu")
    precision = resolve_precision("auto", device)
    torch.manual_seed(0)
    network = place(build_network(model, configuration, 1, CLASSES, True, ModelOptions()), device).train()
    (optimizer,) = build_optimizers(network, TrainingConfig(model=model))
    shape = (configuration.batch_size, *configuration.patch_size)
    data = channels_last(torch.randn(configuration.batch_size, 1, *configuration.patch_size))
    targets = deep_supervision_targets(torch.randint(CLASSES, shape), configuration.strides)
    criterion = SegmentationLoss(Targets(tuple(map(str, range(1, CLASSES)))), configuration.batch_dice)
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        with autocast(device, precision):
            loss = criterion(network(data), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--models", nargs="+", default=["umamba_enc", "umamba_bot", "nnunet"])
    parser.add_argument("--data", nargs="+", default=list(DATA))
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    keep_freed_memory()
    rows: list[Row] = []
    for name in arguments.data:
        plan = plan_for(arguments.preset, name)
        times = {f"{model}, s": seconds_per_step(model, plan, arguments.steps) for model in arguments.models}
        patch = "x".join(map(str, plan.patch_size))
        rows.append(
            {"data": name, "patch": patch, "batch": plan.batch_size, "features": plan.features_per_stage[0], **times}
        )
    return rows


if __name__ == "__main__":
    show(main())
