"""How well the confidence that predict states tells good cases from bad ones, on held-out cases."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

from benchmarks.common import Row
from umseg.evaluation import InstanceMetrics, evaluate_folder
from umseg.evaluation.risk_coverage import risk_coverage


def held_out(title: str, model: Path, images: Path, references: Path, folds: str, scratch: Path) -> Row:
    """The area under the risk-coverage curve of a model on cases that none of its folds was trained with.

    Args:
        title: Name of the data.
        model: Model folder.
        images: Folder of images.
        references: Folder of their label maps.
        folds: Folds that predict together, as in ``--folds``.
        scratch: Folder for the predictions.
    """
    words = ["--model", model, "--input", images, "--output", scratch, "--folds", folds, "--statistics", "--quiet"]
    subprocess.run([sys.executable, "-m", "umseg", "predict", *(str(word) for word in words)], check=True)
    metrics = evaluate_folder(scratch, references, quiet=True, only_present=True)
    if isinstance(metrics, InstanceMetrics):
        errors = {case.case: 1 - case.objects.F1 for case in metrics.cases}
    else:
        errors = {case.case: 1 - case.scores["dsc"] for case in metrics.cases}
    statistics = {
        case["case"]: case["confidence"] for case in json.loads((scratch / "statistics.json").read_text())["cases"]
    }
    cases = [case for case, error in errors.items() if not math.isnan(error)]
    found = risk_coverage([statistics[case] for case in cases], [errors[case] for case in cases])
    return {
        "data": title,
        "cases": len(cases),
        "AURC": found.area,
        "random order": found.random,
        "ideal order": found.ideal,
        "of random": found.area / found.random if found.random else None,
        "excess left": found.excess,
    }
