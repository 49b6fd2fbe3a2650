"""Small model folders and images for the tests of prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tests.training.factories import make_configuration, make_network
from umseg.architectures.options import ModelOptions
from umseg.dataset.description import DatasetDescription
from umseg.models.card import ModelCard
from umseg.planning.intensity import IntensityStatistics
from umseg.planning.plan import Plan
from umseg.training.saved import checkpoint
from umseg.workspace import FINAL

COLOUR_FILES = ("labels.itksnap.txt", "labels.slicer.ctbl")
"""What stands beside label maps of classes."""


def make_plan(dimensions: int, order: tuple[int, int, int]) -> Plan:
    statistics = IntensityStatistics(mean=1, median=1, std=2, min=-5, max=5, percentile_00_5=-4, percentile_99_5=4)
    return Plan(
        dataset_name="Dataset900_Small",
        preset="default",
        original_median_spacing_after_transp=(1, 1, 1),
        original_median_shape_after_transp=(8, 8, 8),
        transpose_forward=order,
        transpose_backward=(order.index(0), order.index(1), order.index(2)),
        foreground_intensity_properties_per_channel={"0": statistics},
        configurations={"small": make_configuration((8,) * dimensions)},
    )


def write_model(
    folder: Path,
    folds: tuple[str, ...] = ("0",),
    dimensions: int = 3,
    order: tuple[int, int, int] = (0, 1, 2),
    **description: Any,
) -> Path:
    """A model folder of a network with one channel and three outputs; fold k has the weights of seed k."""
    fields = {"labels": {"background": 0, "organ": 1, "tumour": 2}, "file_ending": ".nii.gz", **description}
    card = ModelCard(
        umseg_version="0",
        model="nnunet",
        options=ModelOptions(),
        configuration_name="small",
        dataset=DatasetDescription(channel_names={"0": "MR"}, numTraining=4, **fields),
        plan=make_plan(dimensions, order),
        mirror_axes=tuple(range(dimensions)),
    )
    card.save(folder / "model.json")
    for fold in folds:
        write_weights(folder, fold, make_network(card.configuration, seed=int(fold)))
    return folder


def write_weights(folder: Path, fold: str, network: nn.Module, name: str = FINAL) -> None:
    checkpoint.save_tensors(folder / f"fold_{fold}" / name, network.state_dict())


def make_image(shape: tuple[int, int, int] = (9, 10, 11), seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) + 2
