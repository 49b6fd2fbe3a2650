"""Small plans, images and data sets for the tests of preprocessing."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from umseg.dataset.dataset import Dataset, load_dataset
from umseg.planning.intensity import IntensityStatistics
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess import CaseProperties, PreprocessedCase


def make_configuration(
    spacing: tuple[float, ...], scheme: str = "ZScoreNormalization", channels: int = 1, use_mask: bool = False
) -> Configuration:
    axes = len(spacing)
    return Configuration(
        spacing=spacing,
        median_image_size_in_voxels=(16.0,) * axes,
        patch_size=(16,) * axes,
        batch_size=2,
        normalization_schemes=(scheme,) * channels,
        use_mask_for_norm=(use_mask,) * channels,
        batch_dice=False,
        features_per_stage=(32, 64),
        kernel_sizes=((3,) * axes,) * 2,
        strides=((1,) * axes, (2,) * axes),
        num_pool_per_axis=(1,) * axes,
        n_conv_per_stage=(2, 2),
        n_conv_per_stage_decoder=(2,),
    )


def make_plan(order: tuple[int, int, int] = (0, 1, 2), **configurations: Configuration) -> Plan:
    a, b, c = (order.index(axis) for axis in range(3))
    statistics = IntensityStatistics(mean=1, median=1, std=2, min=-5, max=5, percentile_00_5=-4, percentile_99_5=4)
    return Plan(
        dataset_name="Dataset900_Small",
        preset="default",
        original_median_spacing_after_transp=(1, 1, 1),
        original_median_shape_after_transp=(16, 16, 16),
        transpose_forward=order,
        transpose_backward=(a, b, c),
        foreground_intensity_properties_per_channel={"0": statistics},
        configurations=configurations,
    )


def make_image(shape: tuple[int, int, int], channels: int = 1, margin: int = 2, seed: int = 0) -> np.ndarray:
    """Noise with a zero margin."""
    image = np.zeros((channels, *shape), dtype=np.float32)
    inner = (slice(None), *(slice(margin, size - margin) for size in shape))
    size = image[inner].shape
    image[inner] = np.random.default_rng(seed).normal(10, 3, size=size)
    return image


def make_label(shape: tuple[int, int, int], classes: int = 2) -> np.ndarray:
    """Slabs of the classes 1, 2, ... along the second axis, background around."""
    label = np.zeros(shape, dtype=np.int16)
    edges = np.linspace(3, shape[1] - 3, classes + 1).astype(int)
    for value, (start, stop) in enumerate(itertools.pairwise(edges), start=1):
        label[3:-3, start:stop, 3:-3] = value
    return label


def make_case(shape: tuple[int, int, int] = (20, 24, 28), channels: int = 2, seed: int = 0) -> PreprocessedCase:
    generator = np.random.default_rng(seed)
    label = generator.integers(-1, 3, size=shape).astype(np.int8)
    return PreprocessedCase(
        data=generator.normal(size=(channels, *shape)).astype(np.float32),
        label=label,
        class_locations={
            1: np.argwhere(label == 1).astype(np.int32),
            2: np.argwhere(label == 2).astype(np.int32),
            3: np.empty((0, 3), dtype=np.int32),
        },
        properties=CaseProperties(
            spacing=(1.5, 1, 1),
            shape_before_cropping=shape,
            bbox=((0, shape[0]), (0, shape[1]), (0, shape[2])),
            shape_after_cropping=shape,
            shape_after_resampling=shape,
        ),
    )


def write_dataset(folder: Path, cases: int = 3) -> Dataset:
    """A data set of two channels and two classes in the raw format."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    content = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "left": 1, "right": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    for number in range(cases):
        shape = (14 + number, 18, 20 - number)
        for channel, array in enumerate(make_image(shape, channels=2, seed=number)):
            _write(array, folder / "imagesTr" / f"case{number}_{channel:04d}.nii.gz")
        _write(make_label(shape), folder / "labelsTr" / f"case{number}.nii.gz")
    return load_dataset(folder)


def _write(array: np.ndarray, path: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 1.2, 2.0))
    sitk.WriteImage(image, str(path))
