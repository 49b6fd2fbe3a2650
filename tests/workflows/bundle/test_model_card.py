"""The model card for every kind of labels and licences, with scores and without."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.inference.models import write_model
from umseg.evaluation.aggregate import summarise_instances
from umseg.evaluation.records import InstanceCase, InstanceScores
from umseg.workflows.bundle.export import Exported, Terms, export_bundle
from umseg.workflows.bundle.model_card import model_card
from umseg.workflows.bundle.scores import ScoreTable, pooled


def exported(folder: Path, terms: Terms | None = None, **description: Any) -> Exported:
    return export_bundle(write_model(folder / "nnunet__small", **description), folder / "small.umseg", terms=terms)


def card(made: Exported, scores: ScoreTable | None = None) -> tuple[dict[str, Any], str]:
    _, front, body = model_card(made.manifest, made.contents.card, scores, "clinic/small").split("---\n", 2)
    return yaml.safe_load(front), body


def object_case(name: str, f1: float) -> InstanceCase:
    scores = InstanceScores(TP=1, FP=1, FN=1, precision=f1, recall=f1, F1=f1)
    return InstanceCase(case=name, shape=(1, 9, 9), spacing=(1, 1, 1), unit="px", objects=scores, Dice=0.9)


def test_without_scores_and_terms_that_is_said(tmp_path: Path) -> None:
    front, body = card(exported(tmp_path))
    assert "model-index" not in front
    assert "license" not in front
    assert "No scores are recorded for these weights." in body
    assert body.count("Not stated by those who published the model.") == 2


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("MIT", {"license": "mit"}),
        ("CC-BY-NC-SA-4.0", {"license": "cc-by-nc-sa-4.0"}),
        ("Only: for 'us' #1", {"license": "other", "license_name": "only-for-us-1"}),
    ],
)
def test_licences(tmp_path: Path, licence: str, expected: dict[str, str]) -> None:
    front, body = card(exported(tmp_path, Terms(licence=licence)))
    assert {key: value for key, value in front.items() if key.startswith("license")} == expected
    assert licence.replace("#", r"\#") in body


def test_names_cannot_change_the_page(tmp_path: Path) -> None:
    labels = {"background": 0, "a|b": 1, "<script>*x*": 2}
    front, body = card(exported(tmp_path, labels=labels))
    assert r"| a\|b | 1 | `#1f77b4` |" in body
    assert r"| \<script\>\*x\* | 2 | `#ff7f0e` |" in body
    assert "<script>" not in body
    assert front["tags"][0] == "umseg"


def test_objects_are_numbered_and_have_their_own_scores(tmp_path: Path) -> None:
    made = exported(tmp_path, labels={"background": 0, "cell": 1}, task="instance")
    folds = [[object_case("a", 0.5), object_case("b", math.nan)], [object_case("c", 0.7)]]
    scores = pooled([summarise_instances(cases, "cell", 0.5, 2) for cases in folds])
    front, body = card(made, scores)
    assert "| cell | 1, 2, 3, ... | `#1f77b4` |" in body
    assert "| cell | 2 | 0.600 ± 0.100 | 0.600 ± 0.100 | 0.600 ± 0.100 | 0.900 ± 0.000 |" in body
    assert "Mean ± standard deviation over 3 validation cases of 2 folds." in body
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.6


def test_no_folds_have_no_scores() -> None:
    assert pooled([]) is None
