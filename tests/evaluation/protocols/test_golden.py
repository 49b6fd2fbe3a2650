"""The protocols against the values that the published scripts gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from tests.conftest import GOLDEN
from tests.dataset.builder import write_image
from umseg.evaluation import InstanceMetrics, Metrics, evaluate_folder
from umseg.evaluation.protocols.abdomen import ORGANS
from umseg.evaluation.protocols.microscopy import published_cells

FOLDER = GOLDEN / "metrics"
EXACT = 1e-12


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}_expected.json").read_text())
    return content


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_organs(tmp_path: Path) -> None:
    expected = recorded("abdomen")
    for case in expected:
        arrays = load(f"abdomen_{case}")
        for folder, key in (("pred", "pred"), ("ref", "gt")):
            # The script counts the axes as nibabel does: x, y, z.
            write_image(
                tmp_path / folder / f"{case}.nii.gz", arrays[key].transpose(2, 1, 0), tuple(arrays["spacing"].tolist())
            )
    metrics = evaluate_folder(tmp_path / "pred", tmp_path / "ref", protocol="abdomen", quiet=True)
    assert isinstance(metrics, Metrics)
    for found in metrics.cases:
        for organ in ORGANS:
            scores = found.classes[organ.name].scores
            short = {"esophagus": "Esophagus"}.get(organ.short, organ.short[0].upper() + organ.short[1:])
            assert scores["dsc_published"] == pytest.approx(expected[found.case][f"{short}_DSC"], abs=EXACT)
            assert scores["nsd_published"] == pytest.approx(expected[found.case][f"{short}_NSD"], abs=EXACT)
    assert metrics.protocol is not None
    for title in ("DSC", "NSD"):
        values = [value for case in expected.values() for key, value in case.items() if key.endswith(title)]
        assert metrics.protocol.published[title].mean == pytest.approx(np.mean(values))


def test_instruments(tmp_path: Path) -> None:
    expected = recorded("endoscopy")
    for case in expected:
        arrays = load(f"endoscopy_{case}")
        write_image(tmp_path / "pred" / f"{case}.png", arrays["pred"])
        write_image(tmp_path / "ref" / f"{case}.png", arrays["gt"])
    metrics = evaluate_folder(tmp_path / "pred", tmp_path / "ref", protocol="endoscopy", quiet=True)
    assert isinstance(metrics, Metrics)
    for found in metrics.cases:
        assert found.scores["dsc_published"] == pytest.approx(expected[found.case]["DSC"], abs=EXACT)
        assert found.scores["nsd_published"] == pytest.approx(expected[found.case]["NSD_tol2"], abs=EXACT)
        scored = [name for name, scores in found.classes.items() if not np.isnan(scores.scores["dsc_published"])]
        assert list(map(int, scored)) == json.loads(expected[found.case]["union"])
        assert found.scores["dsc"] == pytest.approx(found.scores["dsc_published"], abs=5e-5)
    assert metrics.protocol is not None
    mean = np.mean([case["DSC"] for case in expected.values()])
    assert metrics.protocol.published["DSC"].mean == pytest.approx(mean)


def test_cells(tmp_path: Path) -> None:
    expected = recorded("inst")
    for name in expected:
        arrays = load(f"inst_{name}")
        write_image(tmp_path / "pred" / f"{name}.png", arrays["pred_classmap"])
        write_image(tmp_path / "ref" / f"{name}_label.tiff", arrays["gt"].astype(np.uint16))
    metrics = evaluate_folder(tmp_path / "pred", tmp_path / "ref", protocol="microscopy", quiet=True)
    assert isinstance(metrics, InstanceMetrics)
    assert {case.case for case in metrics.cases} == set(expected)
    for case in metrics.cases:
        row = expected[case.case]["script_row"]
        found = case.published
        assert found is not None
        assert (row["true_num"], row["pred_num"]) == (found.TP + found.FN, found.TP + found.FP)
        assert (row["correct_num(TP)"], row["missed_num(FN)"], row["wrong_num(FP)"]) == (found.TP, found.FN, found.FP)
        assert (found.precision, found.recall, found.F1, found.Dice) == pytest.approx(
            (row["precision"], row["recall"], row["F1"], row["dice"]), abs=EXACT
        )
    assert metrics.protocol is not None
    assert metrics.protocol.published["F1"].median == pytest.approx(
        np.median([one["script_row"]["F1"] for one in expected.values()])
    )


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_cells_at_other_thresholds(threshold: float) -> None:
    for name, rows in recorded("inst").items():
        arrays = load(f"inst_{name}")
        objects = ndimage.label(arrays["pred_classmap"] == 1, np.ones((3, 3)))[0]
        found = published_cells(objects, arrays["gt"], threshold)
        row = rows[f"thr{threshold}_nobd"]
        assert (row["tp"], row["fp"], row["fn"]) == (found.TP, found.FP, found.FN)
        assert (found.F1, found.Dice) == pytest.approx((row["f1"], row["dice"]), abs=5.1e-5)
