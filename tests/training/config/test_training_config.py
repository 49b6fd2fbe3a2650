from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from umseg.common.errors import UserError
from umseg.models.registry import ModelOptions
from umseg.training.config.training_config import TrainingConfig, default_loader_workers, model_folder
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
        ("optimizer", "rmsprop", "rmsprop"),
        ("schedule", "step", "step"),
        ("loss", "mse", "mse"),
        ("momentum", 1.0, "1.0"),
        ("oversampling", 1.5, "1.5"),
        ("accumulate", 0, "0"),
        ("ssm_optimizer", "lion", "lion"),
        ("lr", -1.0, "-1.0"),
        ("ssm_lr", float("nan"), "nan"),
        ("seed", -1, "-1"),
        ("speed", 3, "3"),
    ],
)
def test_an_error_names_the_option(option: str, value: Any, found: str) -> None:
    with pytest.raises(UserError) as caught:
        TrainingConfig.from_options({option: value})
    assert caught.value.problem == f"--{option.replace('_', '-')} is not valid."
    assert caught.value.found == found
    assert caught.value.expected


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
    with pytest.raises(UserError, match="--transforms") as caught:
        TrainingConfig.from_options({"transforms": "monai"})
    assert "umamba" in str(caught.value.expected)
