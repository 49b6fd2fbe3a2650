"""How well the confidence that predict states tells good cases from bad ones, on cases that no fold has seen."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import Row
from umseg.evaluation import InstanceMetrics, evaluate_folder
from umseg.evaluation.risk_coverage import RiskCoverage, risk_coverage

_DRAWS = 1000
"""Draws of the bootstrap."""


def held_out(
    title: str, models: Sequence[Path], images: Path, references: Path, scratch: Path, options: Sequence[str] = ()
) -> Row:
    """The area under the risk-coverage curve of a model, or of several together.

    Args:
        title: Name of the data.
        models: Model folders, or a ``best.json``.
        images: Folder of images.
        references: Folder of their label maps.
        scratch: Folder for the predictions.
        options: Further options of predict, such as ``--folds 0,1,2``.
    """
    named = [word for model in models for word in ("--model", str(model))]
    places = ["--input", str(images), "--output", str(scratch)]
    command = [sys.executable, "-m", "umseg", "predict", *named, *places, *options, "--statistics", "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    errors = errors_of(scratch, references)
    stated = json.loads((scratch / "statistics.json").read_text(encoding="utf-8"))["cases"]
    confidence = {case["case"]: case["confidence"] for case in stated}
    return figures(title, [confidence[case] for case in errors], list(errors.values()))


def errors_of(predictions: Path, references: Path) -> Mapping[str, float]:
    """One minus the score of each case: its mean DSC over classes, or the F1 of its objects."""
    metrics = evaluate_folder(predictions, references, quiet=True, missing="skip")
    if isinstance(metrics, InstanceMetrics):
        errors = {case.case: 1 - case.objects.F1 for case in metrics.cases}
    else:
        errors = {case.case: 1 - case.scores["dsc"] for case in metrics.cases}
    return {case: error for case, error in errors.items() if not math.isnan(error)}


def figures(title: str, confidence: Sequence[float], errors: Sequence[float]) -> Row:
    """The areas, and what is left of the excess over the ideal order with its 95 % interval (bootstrap over cases)."""
    found = risk_coverage(confidence, errors)
    low, high = np.percentile([one.excess for one in _drawn(confidence, errors)], [2.5, 97.5])
    return {
        "data": title,
        "cases": len(errors),
        "mean error": found.random,
        "SD": float(np.std(errors)),
        "AURC": found.area,
        "ideal order": found.ideal,
        "of random": found.area / found.random if found.random else None,
        "ideal of random": found.ideal / found.random if found.random else None,
        "excess left": found.excess,
        "from": float(low),
        "to": float(high),
    }


def _drawn(confidence: Sequence[float], errors: Sequence[float]) -> list[RiskCoverage]:
    rng, scores, values = np.random.default_rng(0), np.asarray(confidence), np.asarray(errors)
    draws = (rng.integers(0, len(values), len(values)) for _ in range(_DRAWS))
    return [risk_coverage(scores[draw].tolist(), values[draw].tolist()) for draw in draws]
