from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from umseg.architectures.options import ModelOptions
from umseg.architectures.registry import NETWORKS
from umseg.common.errors import UserError
from umseg.models.registry import MODELS
from umseg.training.augmentation import PIPELINES
from umseg.training.config.training_config import (
    AugmentationPlace,
    TrainingConfig,
    default_loader_workers,
    model_folder,
)
from umseg.training.data import batches
from umseg.workspace import Workspace


def test_defaults_are_the_papers() -> None:
    config = TrainingConfig()
    assert (config.epochs, config.iterations, config.validation_batches) == (1000, 250, 50)
    assert (config.optimizer, config.fold, config.model) == ("sgd", 0, "umamba_enc")


@pytest.mark.parametrize(("options", "batches"), [((4, None), 1), ((10, None), 2), ((10, 7), 7)])
def test_validation_batches(options: tuple[int, int | None], batches: int) -> None:
    config = TrainingConfig(iterations=options[0], validation_iterations=options[1])
    assert config.validation_batches == batches


@pytest.mark.parametrize("fold", [3, "3", "all"])
def test_folds_as_the_command_line_gives_them(fold: int | str) -> None:
    assert TrainingConfig.from_options({"fold": fold}).fold == ("all" if fold == "all" else 3)


@pytest.mark.parametrize(
    ("option", "value", "found"),
    [
        ("epochs", 0, "0"),
        ("validation_iterations", 0, "0"),
        ("fold", "first", "first"),
        ("momentum", 1.0, "1.0"),
        ("oversampling", 1.5, "1.5"),
        ("accumulate", 0, "0"),
        ("lr", -1.0, "-1.0"),
        ("ssm_lr", float("nan"), "nan"),
        ("seed", -1, "-1"),
    ],
)
def test_an_error_names_the_option(option: str, value: Any, found: str) -> None:
    with pytest.raises(UserError) as caught:
        TrainingConfig.from_options({option: value})
    assert caught.value.problem == f"--{option.replace('_', '-')} is not valid."
    assert caught.value.found == found
    assert caught.value.expected


@pytest.mark.parametrize(
    ("options", "problem", "remedy"),
    [
        ({"model": "umanba_enc"}, "Unknown model 'umanba_enc'.", "Did you mean 'umamba_enc'?"),
        ({"optimizer": "adamww"}, "Unknown optimiser 'adamww'.", "Did you mean 'adamw'?"),
        ({"ssm_optimizer": "lion"}, "Unknown optimiser 'lion'.", "Choose one of the known names with --ssm-optimizer."),
        ({"schedule": "Cosin"}, "Unknown schedule 'Cosin'.", "Did you mean 'cosine'?"),
        ({"loss": "dice-ce"}, "Unknown loss 'dice-ce'.", "Did you mean 'dice_ce'?"),
        ({"epoch": 3}, "Unknown training option 'epoch'.", "Did you mean 'epochs'?"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(options: dict[str, Any], problem: str, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        TrainingConfig.from_options(options)
    assert (caught.value.problem, caught.value.remedy) == (problem, remedy)


def test_names_are_checked_without_torch() -> None:
    code = (
        "import sys\n"
        "from umseg.training.config.training_config import TrainingConfig\n"
        "TrainingConfig.from_options({'loss': 'dice', 'optimizer': 'muon'})\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_field_has_a_help_text_and_a_group() -> None:
    for name, field in TrainingConfig.model_fields.items():
        if name != "schema_version":
            assert field.description, name
            assert isinstance(field.json_schema_extra, dict), name
            assert field.json_schema_extra["group"], name


def test_the_choices_are_those_of_the_code_that_uses_them() -> None:
    assert get_args(AugmentationPlace) == get_args(batches.AugmentationPlace)
    help_text = str(TrainingConfig.model_fields["transforms"].description)
    assert all(f"{name} (" in help_text for name in PIPELINES)
    assert set(NETWORKS) == set(MODELS)


def test_a_run_of_an_earlier_version_can_be_read(tmp_path: Path) -> None:
    """The fields and values of ``config.json`` as umseg 0.1.0 wrote them."""
    earlier = {
        "schema_version": 1, "configuration": "2d", "model": "umamba_bot", "options": {"ssm": True,
        "ssm_residual": True}, "fold": "all", "epochs": 6, "iterations": 20, "validation_iterations": 2,
        "optimizer": "adamw", "lr": None, "momentum": 0.99, "weight_decay": None, "ssm_optimizer": None, "ssm_lr": None,
        "ssm_weight_decay": None, "eps": 1e-08, "schedule": "poly", "power": 0.9, "lr_end": 0.0, "warmup": 0,
        "ema": 0.0, "clip": 12.0, "accumulate": 1, "checkpoint_activations": False, "deep_supervision": True,
        "batch_size": None, "patch_size": [16, 24], "oversampling": 0.33, "mirror_axes": None, "augmentation": "cpu",
        "transforms": "umamba", "loss": "dice_ce", "first_stage": None, "init_from": None, "seed": 0,
        "deterministic": False, "compile": False, "precision": "auto",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(earlier))
    config = TrainingConfig.load(tmp_path / "config.json", "Begin anew.")
    assert json.loads(config.to_json()) == earlier


def test_round_trip(tmp_path: Path) -> None:
    config = TrainingConfig(fold="all", options=ModelOptions(ssm=False), lr=0.02)
    config.save(tmp_path / "config.json")
    assert TrainingConfig.load(tmp_path / "config.json", "Begin anew.") == config


@pytest.mark.parametrize(
    ("config", "tag", "name"),
    [
        (TrainingConfig(), None, "umamba_enc__3d_fullres"),
        (TrainingConfig(model="nnunet", configuration="2d"), "lr-3", "nnunet-lr-3__2d"),
        (TrainingConfig(options=ModelOptions(ssm=False)), None, "umamba_enc-no-ssm__3d_fullres"),
        (TrainingConfig(options=ModelOptions(ssm_residual=True)), "b", "umamba_enc-ssm-residual-b__3d_fullres"),
    ],
)
def test_name_of_the_model_folder(config: TrainingConfig, tag: str | None, name: str) -> None:
    assert model_folder(Workspace(Path("w")), config, tag).path == Path("w/models") / name


def test_at_least_one_loader_worker() -> None:
    assert default_loader_workers() >= 1


def test_unknown_transforms_are_refused() -> None:
    with pytest.raises(UserError, match="Unknown transform 'monai'") as caught:
        TrainingConfig.from_options({"transforms": "monai"})
    assert "umamba" in str(caught.value.expected)
