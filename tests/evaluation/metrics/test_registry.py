"""The table of metrics: its own entries, misspelt names, and a metric of another package from end to end."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.conftest import Writer
from umseg.common import registry as common
from umseg.common.errors import UserError
from umseg.common.registry import Registry
from umseg.evaluation import Measurements, Metric, Metrics, evaluate_folder, write_metrics
from umseg.evaluation.metrics import registry
from umseg.evaluation.metrics.registry import DEFAULT_METRICS, METRICS, choose_metrics

ROOT = Path(__file__).resolve().parents[3]


def missed_voxels(measured: Measurements) -> float:
    return float((~measured.masks[0] & measured.masks[1]).sum())


MISSED = Metric(
    "missed", "missed", "voxels of the reference that are missed; 0 is perfect.", "", "lower", "masks", missed_voxels
)
RENAMED = Metric(
    "other", "other", "a metric whose key is not its entry point's name.", "", "lower", "masks", missed_voxels
)


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package adds two metrics."""
    declared = [EntryPoint(name, f"{__name__}:{name.upper()}", "umseg.metrics") for name in ("missed", "renamed")]
    monkeypatch.setattr(common, "entry_points", lambda group: [e for e in declared if e.group == group])
    monkeypatch.setattr(registry, "METRICS", Registry("metric", "umseg.metrics", dict(METRICS), Metric, "key"))


def test_the_table_lists_the_metrics_of_the_documentation() -> None:
    keys = "dsc", "nsd", "hd95", "assd", "iou", "sensitivity", "precision", "volume_difference"
    assert tuple(METRICS)[: len(keys)] == keys
    others = "hd", "masd", "assd_pooled", "lesion_f1", "lesion_sensitivity", "lesion_precision"
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for key in (*keys, *others):
        assert METRICS[key].key == key
        assert f"| `{key}` |" in text
    better = {key: METRICS[key].better for key in (*keys, *others) if METRICS[key].better != "higher"}
    distances = dict.fromkeys(("hd95", "assd", "hd", "masd", "assd_pooled"), "lower")
    assert better == {**distances, "volume_difference": "zero"}
    assert DEFAULT_METRICS == ("dsc", "nsd")


def test_a_misspelt_metric_is_corrected() -> None:
    with pytest.raises(UserError, match="Unknown metric 'hd59'") as caught:
        choose_metrics(["dsc", "hd59"])
    assert caught.value.remedy == "Did you mean 'hd95'?"
    assert "volume_difference" in str(caught.value.expected)


@pytest.mark.parametrize("keys", [[], ["dsc", "dsc"]])
def test_a_list_of_metrics_that_makes_no_sense(keys: list[str]) -> None:
    with pytest.raises(UserError, match="metrics are not valid") as caught:
        choose_metrics(keys)
    assert "--metrics" in str(caught.value.remedy)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_metric_of_another_package(
    packages: None, write_maps: Writer, block: np.ndarray, tmp_path: Path, workers: int
) -> None:
    moved = np.roll(block, 1, axis=2)
    folders = write_maps("pred", {"a.nii.gz": moved}), write_maps("ref", {"a.nii.gz": block})
    metrics = evaluate_folder(*folders, metrics=["missed", "dsc"], workers=workers, quiet=True)
    assert isinstance(metrics, Metrics)
    (case,) = metrics.cases
    assert case.classes["1"].scores["missed"] == case.classes["1"].FN == 8
    document, table = write_metrics(metrics, tmp_path)
    assert json.loads(document.read_text())["metrics"]["missed"]["better"] == "lower"
    assert table.read_text().splitlines()[0].startswith("case,class,label,missed,dsc,TP")


def test_a_key_that_is_not_the_entry_point_is_refused(packages: None) -> None:
    with pytest.raises(UserError, match="calls itself 'other'") as caught:
        choose_metrics(["renamed"])
    assert "'renamed'" in str(caught.value.expected)


def test_the_example_of_the_documentation() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert isinstance(names["HAUSDORFF"], Metric)
    reference = np.zeros((3, 4, 20), bool)
    reference[..., 2:6] = True
    measured = Measurements(np.roll(reference, 3, axis=2), reference, (1.0, 1.0, 2.0))
    assert names["HAUSDORFF"].function(measured) == 6
    assert np.isnan(names["HAUSDORFF"].function(Measurements(reference & False, reference & False, (1.0, 1.0, 2.0))))
