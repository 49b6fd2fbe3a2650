"""Models of all kinds, as umseg and the standalone functions know them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.training.factories import make_configuration
from umseg.architectures.options import ModelOptions
from umseg.dataset.description import DatasetDescription
from umseg.inference.runtimes.metadata import OnnxMetadata
from umseg.inference.standalone import Metadata
from umseg.models.card import ModelCard
from umseg.planning.intensity import IntensityStatistics
from umseg.planning.plan import Plan
from umseg.preprocess.instance_cleaning import Cleaning


def make_card(
    dimensions: int = 3,
    order: tuple[int, int, int] = (0, 1, 2),
    channels: int = 1,
    model: str = "nnunet",
    description: dict[str, Any] | None = None,
    mirror_axes: tuple[int, ...] = (),
    **configuration: Any,
) -> ModelCard:
    """A model of a patch of 8 voxels per axis and the classes organ and tumour."""
    statistics = IntensityStatistics(mean=1, median=1, std=2, min=-5, max=9, percentile_00_5=-2, percentile_99_5=3)
    fields = {"labels": {"background": 0, "organ": 1, "tumour": 2}, **(description or {})}
    objects = fields.get("task") == "instance"
    plan = Plan(
        dataset_name="Dataset900_Small",
        preset="default",
        original_median_spacing_after_transp=(1, 1, 1),
        original_median_shape_after_transp=(8, 8, 8),
        transpose_forward=order,
        transpose_backward=(order.index(0), order.index(1), order.index(2)),
        boundary_width=1 if objects else None,
        foreground_intensity_properties_per_channel={str(number): statistics for number in range(channels)},
        configurations={"small": make_configuration((8,) * dimensions, channels=channels, **configuration)},
    )
    return ModelCard(
        umseg_version="0",
        model=model,
        options=ModelOptions(),
        configuration_name="small",
        dataset=DatasetDescription(
            channel_names={str(number): f"channel {number}" for number in range(channels)},
            numTraining=4,
            file_ending=".nii.gz",
            **fields,
        ),
        plan=plan,
        mirror_axes=mirror_axes,
    )


def metadata_of(card: ModelCard, cleaning: Cleaning | None = None, fold: str = "0") -> Metadata:
    """What an ONNX file of this model says."""
    record = OnnxMetadata(
        umseg_version="0",
        card=card,
        patch_size=tuple(card.configuration.patch_size),
        fold=fold,
        weights="0" * 32,
        cleaning=cleaning,
    )
    return Metadata.from_json(record.model_dump_json())


def save_model(card: ModelCard, folder: Path) -> Path:
    """A model folder of fold 0 with random weights."""
    import torch

    from tests.inference.models import write_weights

    card.save(folder / "model.json")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        write_weights(folder, "0", card.build_network())
    return folder


def save_cascade(folder: Path) -> Path:
    """The second stage of a cascade in ``folder / "high"``, whose first stage lies beside it."""
    card = make_card()
    low = card.configuration.model_copy(update={"next_stage": "high"})
    high = card.configuration.model_copy(update={"previous_stage": "low"})
    plan = card.plan.model_copy(update={"configurations": {"low": low, "high": high}}).model_dump()
    content = {**card.model_dump(), "plan": plan, "configuration_name": "low"}
    save_model(ModelCard.model_validate(content), folder / "low")
    content = {**content, "configuration_name": "high", "first_stage": "../low"}
    return save_model(ModelCard.model_validate(content), folder / "high")
