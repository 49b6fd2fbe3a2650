"""Small configurations, networks and preprocessed cases for the tests of training and inference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from umseg.architectures.options import ModelOptions
from umseg.dataset.description import DatasetDescription
from umseg.models.card import ModelCard
from umseg.models.registry import build_network
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess import CaseProperties, CaseStore, Origin, PreprocessedCase


def make_configuration(
    patch: tuple[int, ...] = (8, 8, 8), batch_size: int = 2, channels: int = 1, use_mask: bool = False, **fields: Any
) -> Configuration:
    """Two stages with 4 and 8 channels; axes of the patch that are not even are not pooled."""
    axes = len(patch)
    strides = tuple(2 if size % 2 == 0 else 1 for size in patch)
    content: dict[str, Any] = {
        "spacing": (1.0,) * axes,
        "median_image_size_in_voxels": tuple(float(size) for size in patch),
        "patch_size": patch,
        "batch_size": batch_size,
        "normalization_schemes": ("NoNormalization",) * channels,
        "use_mask_for_norm": (use_mask,) * channels,
        "batch_dice": False,
        "features_per_stage": (4, 8),
        "kernel_sizes": ((3,) * axes,) * 2,
        "strides": ((1,) * axes, strides),
        "num_pool_per_axis": tuple(stride - 1 for stride in strides),
        "n_conv_per_stage": (1, 1),
        "n_conv_per_stage_decoder": (1,),
        **fields,
    }
    return Configuration(**content)


def make_network(
    configuration: Configuration | None = None, model: str = "nnunet", seed: int = 0, deep_supervision: bool = False
) -> nn.Module:
    """One image channel, three classes; the global random state of torch is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_network(model, configuration or make_configuration(), 1, 3, deep_supervision)


def make_case(
    shape: tuple[int, int, int] = (12, 11, 13), channels: int = 1, seed: int = 0, foreground: bool = True
) -> PreprocessedCase:
    """Noise with a brighter class 1 and one voxel of class 2; the first plane lies outside the nonzero region."""
    data = np.random.default_rng(seed).normal(size=(channels, *shape)).astype(np.float32)
    label = np.zeros(shape, dtype=np.int8)
    label[0] = -1
    if foreground:
        label[tuple(slice(n // 2, n // 2 + 3) for n in shape)] = 1
        label[2, 1, 1] = 2
        data += 3 * (label == 1)
    data[:, label == -1] = 0
    bbox = ((0, shape[0]), (0, shape[1]), (0, shape[2]))
    return PreprocessedCase(
        data=data,
        label=label,
        class_locations=locations(label) if foreground else {},
        properties=CaseProperties(
            spacing=(1.0, 1.0, 1.0),
            shape_before_cropping=shape,
            bbox=bbox,
            shape_after_cropping=shape,
            shape_after_resampling=shape,
        ),
    )


def locations(label: NDArray[np.integer[Any]]) -> dict[int, NDArray[np.int32]]:
    """All voxels of every foreground class."""
    return {int(c): np.argwhere(label == c).astype(np.int32) for c in np.unique(label) if c > 0}


def write_store(folder: Path, cases: Sequence[PreprocessedCase]) -> CaseStore:
    """Write the cases as case_0, case_1, ..."""
    store = CaseStore(folder)
    for number, case in enumerate(cases):
        store.write(f"case_{number}", case, Origin(source="files", recipe="plan"), (8, 8, 8))
    return store


def make_card(model: str = "nnunet", mirror_axes: tuple[int, ...] = ()) -> ModelCard:
    """The card of a small model of two classes."""
    plan = Plan(
        dataset_name="Dataset001_Other",
        preset="default",
        original_median_spacing_after_transp=(1.0, 1.0, 1.0),
        original_median_shape_after_transp=(8, 8, 8),
        transpose_forward=(0, 1, 2),
        transpose_backward=(0, 1, 2),
        foreground_intensity_properties_per_channel={},
        configurations={"3d_fullres": make_configuration()},
    )
    return ModelCard(
        umseg_version="0",
        model=model,
        options=ModelOptions(),
        configuration_name="3d_fullres",
        dataset=DatasetDescription(
            channel_names={"0": "MRI"}, labels={"background": 0, "a": 1, "b": 2}, numTraining=1, file_ending=".nii.gz"
        ),
        plan=plan,
        mirror_axes=mirror_axes,
    )
