from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.models.plans import SMALL
from umseg.architectures.options import ModelOptions
from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.models.card import ModelCard, load_card
from umseg.planning.plan import Configuration, Plan
from umseg.workspace import CARD


def two_channels(configuration: Configuration) -> Configuration:
    return configuration.model_copy(
        update={"normalization_schemes": ("ZScoreNormalization",) * 2, "use_mask_for_norm": (False,) * 2}
    )


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        umseg_version="0.1.0",
        model="umamba_bot",
        options=ModelOptions(ssm_residual=True),
        configuration_name="2d",
        dataset=DatasetDescription(
            channel_names={"0": "CT", "1": "PET"},
            labels={"background": 0, "organ": 1, "tumour": 2},
            numTraining=3,
            file_ending=".nii.gz",
        ),
        plan=Plan(
            dataset_name="Dataset001_Test",
            preset="default",
            original_median_spacing_after_transp=(3.0, 1.0, 1.0),
            original_median_shape_after_transp=(10, 20, 30),
            transpose_forward=(0, 1, 2),
            transpose_backward=(0, 1, 2),
            foreground_intensity_properties_per_channel={},
            configurations={"2d": two_channels(SMALL["2d"]), "3d_fullres": two_channels(SMALL["3d"])},
        ),
        mirror_axes=(0, 1),
    )


def write(folder: Path, card: ModelCard, **changes: object) -> Path:
    (folder / CARD).write_text(json.dumps({**card.model_dump(mode="json"), **changes}))
    return folder


def test_round_trip(tmp_path: Path, card: ModelCard) -> None:
    card.save(tmp_path / CARD)
    assert load_card(tmp_path) == card


def test_builds_its_network(card: ModelCard) -> None:
    assert card.configuration == two_channels(SMALL["2d"])
    assert card.build_network()(torch.randn(1, 2, 12, 20)).shape == (1, 3, 12, 20)
    assert [s.shape[-1] for s in card.build_network(deep_supervision=True)(torch.randn(1, 2, 12, 20))] == [20, 10]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder does not exist") as caught:
        load_card(tmp_path / "fold_0")
    assert caught.value.file == str(tmp_path / "fold_0")
    assert "umseg train" in str(caught.value.remedy)


def test_file_in_place_of_the_folder(tmp_path: Path, card: ModelCard) -> None:
    write(tmp_path, card)
    with pytest.raises(UserError, match="folder does not exist"):
        load_card(tmp_path / CARD)


def test_folder_without_a_card(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.json does not exist") as caught:
        load_card(tmp_path)
    assert caught.value.file == str(tmp_path / CARD)
    assert "umseg train" in str(caught.value.remedy)


def test_damaged_card(tmp_path: Path, card: ModelCard) -> None:
    write(tmp_path, card)
    text = (tmp_path / CARD).read_text()
    (tmp_path / CARD).write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"model\.json is not valid JSON"):
        load_card(tmp_path)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"colour": "red"}, "colour"),
        ({"model": 3}, "model"),
        ({"options": {"ssm": True, "heads": 2}}, "options.heads"),
        ({"mirror_axes": ["x"]}, "mirror_axes.0"),
    ],
)
def test_wrong_field_is_named(tmp_path: Path, card: ModelCard, changes: dict[str, object], field: str) -> None:
    with pytest.raises(UserError, match=f"field '{field}'") as caught:
        load_card(write(tmp_path, card, **changes))
    assert caught.value.file == str(tmp_path / CARD)


def test_unknown_configuration_and_model(tmp_path: Path, card: ModelCard) -> None:
    with pytest.raises(UserError, match="field 'configuration_name'") as caught:
        load_card(write(tmp_path, card, configuration_name="4d"))
    assert caught.value.expected == "'2d' or '3d_fullres'"
    with pytest.raises(UserError, match="'unet'"):
        load_card(write(tmp_path, card, model="unet")).build_network()
