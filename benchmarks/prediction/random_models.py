"""Model folders with random weights whose label maps look like those of trained models.

    python -m benchmarks.prediction.random_models FOLDER [--classes 118] [--spacing 1.5 1.5 1.5] [--patch 96 96 96]
                                                 [--narrow] [--noisy] [--atlas FILE]

A network with random weights gives every voxel another class than its neighbours, which no trained model does, and on
which compression, post-processing and export would be measured at their worst. Here the skip connections of the finer
half of the stages are weakened: what is decided at 1/8 of the resolution is only smoothed on the way up; ``--noisy``
leaves that out. All rows of the head have the same length, so that each class is the largest somewhere, and the
background gets a bias by which it has three quarters of a generated image.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.prediction import large_ct
from umseg.architectures.options import ModelOptions
from umseg.dataset.description import DatasetDescription
from umseg.models.card import ModelCard
from umseg.planning.intensity import IntensityStatistics
from umseg.planning.plan import Configuration, Plan
from umseg.planning.rules.topology import plan_topology
from umseg.training.saved import checkpoint
from umseg.workspace import FINAL

WIDTHS = (32, 64, 128, 256, 320)
"""Channels of the plain network's stages; the last counts for all deeper ones."""
NARROW_WIDTHS = (8, 8, 8, 8, 8)
"""Channels of a network that takes little time, for what does not depend on them."""

_BACKGROUND = 0.67
_SKIP = 0.02
_ONLY_SMOOTHED = 3
_CT = IntensityStatistics(
    mean=20.0, median=40.0, std=250.0, min=-1024.0, max=3071.0, percentile_00_5=-1000.0, percentile_99_5=800.0
)


def write_model(
    folder: Path,
    classes: int,
    spacing: Sequence[float],
    patch: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    widths: Sequence[int] = WIDTHS,
    batch_size: int = 2,
    seed: int = 0,
    scheme: str = "CTNormalization",
    noisy: bool = False,
) -> Path:
    """Write a model folder with one fold, and return it.

    Args:
        folder: The model folder.
        classes: Number of outputs, with the background.
        spacing: mm along z, y, x, or along y, x for a 2-D model.
        patch: Voxels along the same axes.
        names: Name of each foreground class; None numbers them.
        widths: Channels of the stages; the last counts for all deeper ones.
        batch_size: The plan's batch size.
        seed: Seed of the weights.
        scheme: Normalisation of the only channel.
        noisy: Whether neighbouring voxels may have any classes, which is the worst case for the export.
    """
    names = [f"class {number}" for number in range(1, classes)] if names is None else names
    card = ModelCard(
        umseg_version="0",
        model="nnunet",
        options=ModelOptions(),
        configuration_name="random",
        dataset=DatasetDescription(
            channel_names={"0": "CT"},
            labels={"background": 0, **{name: number for number, name in enumerate(names, start=1)}},
            numTraining=1,
            file_ending=".nii.gz",
        ),
        plan=_plan(_configuration(tuple(spacing), tuple(patch), widths, batch_size, scheme)),
        mirror_axes=tuple(range(len(patch))),
    )
    card.save(folder / "model.json")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = card.build_network().eval()
    if not noisy:
        smooth(network)
    even_out(network)
    balance(network, card.configuration)
    checkpoint.save_tensors(folder / "fold_0" / FINAL, network.state_dict())
    return folder


@torch.no_grad()
def smooth(network: nn.Module) -> None:
    """Let the decoder only smooth what the deep stages say."""
    for upsampling in network.upsamplings:  # type: ignore[union-attr]
        weight = upsampling.weight
        weight[...] = weight.mean(dim=tuple(range(2, weight.dim())), keepdim=True)
    finest_kept = len(network.decoder) - _ONLY_SMOOTHED  # type: ignore[arg-type]
    for number, stage in enumerate(network.decoder):  # type: ignore[arg-type]
        for place, layer in enumerate(m for m in stage.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)):
            _blur(layer.weight)
            if place == 0 and number >= finest_kept:
                # The upsampled channels come first.
                layer.weight[:, layer.weight.shape[1] // 2 :] *= _SKIP


@torch.no_grad()
def even_out(network: nn.Module) -> None:
    """Let each class be the largest somewhere."""
    head = network.heads[-1].weight  # type: ignore[index, union-attr]
    # What all features have in common does not decide.
    head -= head.mean(dim=1, keepdim=True)
    head /= head.flatten(1).norm(dim=1).reshape(-1, *[1] * (head.dim() - 1))


def _blur(weight: Tensor) -> None:
    """Replace each kernel by its centre times the binomial filter of its size."""
    middle: Any = (Ellipsis, *(size // 2 for size in weight.shape[2:]))
    centre = weight[middle].clone()
    weight[...] = centre.reshape(*centre.shape, *[1] * (weight.dim() - 2))
    for axis, size in enumerate(weight.shape[2:], start=2):
        taps = torch.tensor([math.comb(size - 1, tap) / 2 ** (size - 1) for tap in range(size)])
        weight *= taps.reshape([-1 if position == axis else 1 for position in range(weight.dim())])


@torch.inference_mode()
def balance(network: nn.Module, configuration: Configuration) -> None:
    """Choose the bias of the background on a small generated image."""
    bias: Tensor = network.heads[-1].bias  # type: ignore[index, union-attr]
    logits = network(_sample(configuration))[0]
    margin = (logits[1:].amax(dim=0) - logits[0]).flatten().sort().values
    bias[0] += margin[int(_BACKGROUND * (len(margin) - 1))]


def atlas_names(label_map: Path) -> list[str]:
    """A name for each value above 0 of an atlas, in ascending order: values with gaps become successive classes."""
    import nibabel

    values = np.unique(np.asanyarray(nibabel.load(label_map).dataobj))  # type: ignore[attr-defined]
    return [f"structure {int(value)}" for value in values if value > 0]


def _sample(configuration: Configuration) -> Tensor:
    """A patch of a generated CT that has as many voxels as the patch, normalised, of a batch of one."""
    patch = configuration.patch_size
    depth, *plane = patch if len(patch) == 3 else (1, *patch)
    slices = list(large_ct.planes((max(depth, 2), *plane)))[:depth]  # type: ignore[arg-type]
    values = torch.from_numpy(np.stack(slices).astype(np.float32))
    if configuration.normalization_schemes[0] == "CTNormalization":
        values = (values.clamp(_CT.percentile_00_5, _CT.percentile_99_5) - _CT.mean) / _CT.std
    else:
        values = (values - values.mean()) / values.std()
    return values.reshape(1, 1, *patch)


def _configuration(
    spacing: tuple[float, ...], patch: tuple[int, ...], widths: Sequence[int], batch_size: int, scheme: str
) -> Configuration:
    topology = plan_topology(spacing, patch)
    stages = topology.num_stages
    return Configuration(
        spacing=spacing,
        median_image_size_in_voxels=tuple(float(size) for size in patch),
        patch_size=topology.patch_size,
        batch_size=batch_size,
        normalization_schemes=(scheme,),
        use_mask_for_norm=(False,),
        batch_dice=False,
        features_per_stage=tuple(widths[min(stage, len(widths) - 1)] for stage in range(stages)),
        kernel_sizes=topology.kernel_sizes,
        strides=topology.strides,
        num_pool_per_axis=topology.num_pool_per_axis,
        n_conv_per_stage=(2,) * stages,
        n_conv_per_stage_decoder=(2,) * (stages - 1),
    )


def _plan(configuration: Configuration) -> Plan:
    spacing = configuration.spacing if configuration.dimensions == 3 else (1.0, *configuration.spacing)
    return Plan(
        dataset_name="Dataset900_Random",
        preset="default",
        original_median_spacing_after_transp=spacing,
        original_median_shape_after_transp=(100, 100, 100),
        transpose_forward=(0, 1, 2),
        transpose_backward=(0, 1, 2),
        foreground_intensity_properties_per_channel={"0": _CT},
        configurations={"random": configuration},
    )


def main() -> None:
    """Parse the arguments and write the model folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="model folder to write")
    parser.add_argument("--classes", type=int, default=118, help="number of outputs, with the background")
    parser.add_argument("--spacing", type=float, nargs="+", default=(1.5, 1.5, 1.5), help="mm along z, y, x")
    parser.add_argument("--patch", type=int, nargs="+", default=(96, 96, 96), help="voxels along the same axes")
    parser.add_argument("--narrow", action="store_true", help="few channels, to measure what does not depend on them")
    parser.add_argument("--noisy", action="store_true", help="leave neighbouring voxels as different as they are")
    parser.add_argument("--atlas", type=Path, help="label map whose values become the classes")
    given = parser.parse_args()
    names = None if given.atlas is None else atlas_names(given.atlas)
    classes = given.classes if names is None else len(names) + 1
    widths = NARROW_WIDTHS if given.narrow else WIDTHS
    places = given.folder, classes, given.spacing, given.patch
    print(write_model(*places, names=names, widths=widths, noisy=given.noisy))


if __name__ == "__main__":
    main()
