"""The methods paragraph states what was run and cites what was used."""

from __future__ import annotations

from pathlib import Path

from tests.evaluation.factories import make_metrics
from umseg.models.card import ModelCard
from umseg.reports.page.methods import methods
from umseg.reports.page.sources.runs import Run, Training
from umseg.reports.page.sources.scores import pooled_scores
from umseg.training.config.training_config import TrainingConfig


def training(golden: Path, model: str, **options: object) -> Training:
    """A training on the recorded plan."""
    folder = golden / "workspace_0_1" / "workspaces" / "Dataset950_Blobs" / "models" / f"{model}__3d_fullres"
    card = ModelCard.load(folder / "model.json", "")
    config = TrainingConfig(model=model, configuration="3d_fullres", **options)
    return Training(card, (Run("0", config, (), "umseg", 4, 2, "umseg train"),), 6)


def text(*sources: tuple[str, Training | None]) -> tuple[str, tuple[str, ...]]:
    scores = pooled_scores([make_metrics({"a": [(0.9, 0.95)]})])
    found = methods([(name, one, scores, False) for name, one in sources], "1.2.3")
    return " ".join(found.paragraphs), found.works


def test_the_optimiser_the_seed_and_the_numbers_are_those_of_the_run(golden: Path) -> None:
    said, _ = text(("m", training(golden, "nnunet", optimizer="muon", lr=0.1, seed=17, epochs=30, iterations=40)))
    assert "30 epochs of 40 iterations" in said
    assert "by Muon" in said
    assert "initial learning rate of 0.1" in said
    assert "seed 17" in said
    assert "Of 6 cases, 4 were used for training (fold 0) and 2 held out for validation." in said
    assert "computed by umseg 1.2.3" in said


def test_works_are_cited_in_the_order_in_which_the_text_names_them(golden: Path) -> None:
    said, works = text(("m", training(golden, "umamba_bot")))
    assert works[0].startswith("Isensee F")
    assert any("U-Mamba" in work for work in works)
    numbers = [said.index(f"[{number}]") for number in range(1, len(works) + 1)]
    assert numbers == sorted(numbers)


def test_what_was_not_used_is_not_cited(golden: Path) -> None:
    _, works = text(("m", training(golden, "nnunet")))
    assert not any("Mamba" in work or "Muon" in work for work in works)
    _, works = text(("scores alone", None))
    assert not any("nnU-Net" in work for work in works)
    assert any(work.startswith("Dice LR") for work in works)


def test_several_sources_are_told_apart_by_their_names(golden: Path) -> None:
    said, _ = text(("first", training(golden, "nnunet")), ("second", training(golden, "umamba_bot")))
    assert "first: umseg" in said
    assert "second: umseg" in said
