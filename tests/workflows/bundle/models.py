"""Model folders with scores, records of their training, and a cascade."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.inference.models import write_model, write_weights
from tests.training.factories import make_configuration, make_network
from umseg.evaluation import Metrics, load_metrics
from umseg.models.card import ModelCard, load_card
from umseg.models.registry import build_network
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.splits import Split
from umseg.training.saved.tensor_file import weights_hash
from umseg.workspace import BEST, ModelFolder

CLASSES = ("organ", "tumour")


def write_scores(models: Path, fold: str, cases: dict[str, tuple[float, float]], of: str | None = None) -> Metrics:
    """Scores of a fold: DSC of organ and tumour per case; ``of`` is the hash of the weights, None: the final ones."""
    folder = ModelFolder(models).fold(fold)
    names = dict(zip(CLASSES, (1, 2), strict=True))
    content: dict[str, Any] = {
        "schema_version": 2,
        "metrics": {"dsc": {"title": "DSC", "description": "overlap; 1 is perfect.", "unit": "", "better": "higher"},
                    "hd95": {"title": "HD95", "description": "distance.", "unit": "mm", "better": "lower"}},
        "labels": names,
        "tolerance": dict.fromkeys(CLASSES, 1.5),
        "unit": "mm",
        "cases": [_case(name, dict(zip(CLASSES, scores, strict=True))) for name, scores in cases.items()],
        "classes": {name: _summary() for name in CLASSES},
        "foreground_mean": _summary(),
        "weights": of or weights_hash(folder.weights("final"), ""),
    }  # fmt: skip
    folder.validation.mkdir()
    folder.metrics_file.write_text(json.dumps(content))
    metrics = load_metrics(folder.metrics_file)
    assert isinstance(metrics, Metrics)
    return metrics


def _case(name: str, scores: dict[str, float]) -> dict[str, Any]:
    counts = {"TP": 1, "FP": 0, "FN": 0, "n_pred": 1, "n_ref": 1, "volume_pred_ml": 1.0, "volume_ref_ml": 1.0}
    classes = {label: {"scores": {"dsc": dsc, "hd95": 2.0}, **counts} for label, dsc in scores.items()}
    means = {"dsc": sum(scores.values()) / len(scores), "hd95": 2.0}
    return {"case": name, "shape": [8, 8, 8], "spacing": [1, 1, 1], "unit": "mm", "scores": means, "classes": classes}


def _summary() -> dict[str, Any]:
    statistic = {"mean": 0.5, "std": 0.1, "n_finite": 2, "n_infinite": 0}
    return {"scores": {"dsc": statistic, "hd95": statistic}, "n_cases": 2, "n_not_evaluable": 0}


def write_trained(folder: Path) -> Path:
    """A model folder of two folds as training leaves it, with everything that does not belong into a bundle."""
    models = write_model(folder, folds=("0", "1"))
    for fold, validation in (("0", "anna"), ("1", "bert")):
        place = ModelFolder(models).fold(fold)
        TrainingConfig(epochs=50, iterations=20).save(place.config_file)
        Split(train=("cora", "dora", "emil"), validation=(validation, validation + "_2")).save(place.split_file)
        write_weights(models, fold, make_network(load_card(models).configuration, seed=7), BEST)
        place.checkpoint.write_bytes(b"a checkpoint")
        place.log_table.write_text("epoch,lr\n")
        write_scores(models, fold, {validation: (0.9, 0.5), validation + "_2": (0.7, 0.3)})
        (place.validation / f"{validation}.nii.gz").write_bytes(b"a label map")
    return models


def write_cascade(folder: Path) -> Path:
    """The model folder of a cascade's second stage; the first stage lies beside it."""
    second = write_model(folder / "nnunet__high")
    card = load_card(second)
    low = card.plan.configurations["small"].model_copy(update={"next_stage": "high"})
    high = make_configuration(previous_stage="low")
    plan = card.plan.model_copy(update={"configurations": {"low": low, "high": high}})
    fields = {**card.model_dump(), "plan": plan.model_dump(), "configuration_name": "high"}
    ModelCard.model_validate({**fields, "first_stage": "../nnunet__low"}).save(second / "model.json")
    write_weights(second, "0", build_network("nnunet", high, 3, 3))
    first = write_model(folder / "nnunet__low", folds=("0", "1"))
    ModelCard.model_validate({**fields, "configuration_name": "low"}).save(first / "model.json")
    shutil.rmtree(first / "fold_1" / "validation", ignore_errors=True)
    return second
