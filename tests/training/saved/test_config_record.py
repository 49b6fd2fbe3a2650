"""``config.json`` records what ran, and a run is resumed with what was left open when it began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.factories import make_configuration
from umseg.common.errors import UserError
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.splits import Split
from umseg.training.saved.folder import RunFolder
from umseg.workspace import FINAL, LATEST, ModelFolder

SPLIT = Split(train=("a", "b"), validation=("c",))
CHOSEN = TrainingConfig.from_options({"model": "umamba_bot", "recipe": "quick", "mirror_axes": None})


class Card:
    """As much of a model's card as is written and asked for here."""

    configuration = make_configuration()

    def save(self, path: Path) -> None:
        path.touch()


@pytest.fixture
def models(tmp_path: Path) -> ModelFolder:
    """A model folder whose fold 0 has run for a while."""
    models = ModelFolder(tmp_path / "umamba_bot__3d_fullres")
    (models.fold(0).path).mkdir(parents=True)
    RunFolder(models, CHOSEN, SPLIT).prepare(Card(), "bf16")  # type: ignore[arg-type]
    for name in (LATEST, FINAL):
        (models.fold(0).path / name).touch()
    return models


def test_nothing_that_ran_is_left_open(models: ModelFolder) -> None:
    written = TrainingConfig.load(models.fold(0).config_file, "")
    assert (written.lr, written.precision, written.ssm_optimizer) == (0.1, "bf16", "adamw")
    assert written.patch_size == Card.configuration.patch_size
    assert written.mirror_axes == (0, 1, 2)
    # Not given to the Mamba layers alone, first stages or other weights: nothing of that ran.
    left = {name for name, value in written.model_dump().items() if value is None}
    assert left == {"ssm_lr", "ssm_weight_decay", "first_stage", "init_from"}


def test_the_same_command_resumes(models: ModelFolder) -> None:
    assert RunFolder(models, CHOSEN, SPLIT).complete
    explicit = CHOSEN.model_copy(update={"batch_size": Card.configuration.batch_size, "precision": "bf16", "lr": 0.1})
    assert RunFolder(models, explicit, SPLIT).complete


def test_a_config_of_an_earlier_version_resumes(models: ModelFolder) -> None:
    CHOSEN.save(models.fold(0).config_file)
    assert RunFolder(models, CHOSEN, SPLIT).complete


@pytest.mark.parametrize("change", [{"lr": 0.2}, {"batch_size": 7}, {"precision": "fp32"}, {"mirror_axes": ()}])
def test_other_values_are_refused(models: ModelFolder, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="other options") as caught:
        RunFolder(models, CHOSEN.model_copy(update=change), SPLIT)
    assert next(iter(change)) in str(caught.value.found)
