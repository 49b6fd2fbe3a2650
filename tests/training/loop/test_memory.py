"""A training that cannot fit is refused before anything is allocated, and one that probably does not is warned of."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from tests.training.factories import make_card
from umseg.common.errors import UserError
from umseg.models.card import ModelCard
from umseg.planning.training_memory import training_memory
from umseg.training.config.training_config import TrainingConfig
from umseg.training.loop.memory import check_training_memory
from umseg.training.loop.processes import Processes

CPU = torch.device("cpu")
GB = 10**9


def card_of(model: str = "nnunet", **fields: Any) -> ModelCard:
    card = make_card(model)
    # Past the limits of a plan, as options and plugins may be.
    configuration = card.plan.configurations["3d_fullres"].model_copy(update=fields)
    plan_copy = card.plan.model_copy(update={"configurations": {"3d_fullres": configuration}})
    return card.model_copy(update={"plan": plan_copy})


def check(card: ModelCard, available: int, processes: Processes | None = None, **options: Any) -> None:
    config = TrainingConfig(**options)
    check_training_memory(card, config, CPU, torch.float32, processes or Processes(), available)


@pytest.mark.parametrize("model", ["nnunet", "umamba_bot", "segresnet"])
def test_a_small_training_fits(model: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check(card_of(model), GB)
    assert not caplog.records


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_size": 1_000_000_000},
        {"patch_size": (4096, 4096, 4096)},
        {"features_per_stage": (10**6, 10**6)},
    ],
    ids=str,
)
@pytest.mark.parametrize("model", ["nnunet", "umamba_enc"])
def test_what_cannot_fit_is_refused(model: str, fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"Training {model} needs more memory") as caught:
        check(card_of(model, **fields), 24 * GB)
    assert "this machine has 24.0 GB available" in str(caught.value.found)
    assert "--batch-size" in str(caught.value.remedy)


def test_a_network_without_description_is_judged_by_its_batch() -> None:
    check(card_of("segresnet", batch_size=1000), 24 * GB)
    with pytest.raises(UserError, match="needs more memory"):
        check(card_of("segresnet", batch_size=100_000_000), 24 * GB)


def test_parts_and_processes_need_less() -> None:
    # 16 x 16 x 16 voxels at least, of each 6 bytes of image and label, and 12 bytes of logits in a part.
    card = card_of("segresnet", batch_size=1000)
    with pytest.raises(UserError):
        check(card, 4096 * 18 * 1000 - 1)
    check(card, 4096 * 18 * 1000)
    check(card, 4096 * (6 * 1000 + 12 * 10), accumulate=100)
    check(card, 4096 * 18 * 500, Processes(rank=1, count=2))


def test_what_is_expected_not_to_fit_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    card = card_of(batch_size=1000)
    expected = training_memory("nnunet", card.configuration, 1, 3, precision="fp32", device="cpu").total
    with caplog.at_level(logging.WARNING):
        check(card, expected)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        check(card, expected - 1)
    assert "expected to need about" in caplog.text
    with pytest.raises(UserError):
        check(card, expected // 3)
    # Activations that are computed again are not kept.
    check(card, expected // 3, checkpoint_activations=True)


def test_weights_that_do_not_fit_are_refused_before_they_are_made() -> None:
    card = card_of(features_per_stage=(10**7, 10**7))
    with pytest.raises(UserError, match="The network nnunet needs more memory"):
        card.build_network()
