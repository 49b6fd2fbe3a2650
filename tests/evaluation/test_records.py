"""metrics.json: what is written, and what earlier versions wrote."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import GOLDEN
from tests.evaluation.factories import make_metrics
from umseg.common.errors import UserError
from umseg.evaluation import Metrics, format_table, load_metrics, write_metrics

NAN = math.nan
SCHEMA_1 = GOLDEN / "metrics_schema_1.json"


@pytest.fixture
def earlier(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    return tmp_path / "metrics.json", json.loads(SCHEMA_1.read_text())


def test_a_file_of_schema_1_holds_the_same_scores() -> None:
    scores = {"a": [(0.5, 0.4), (NAN, NAN)], "b": [(0.9, 0.8), (0.3, 0.1)], "c": [(0.95, 0.9), (NAN, NAN)]}
    found, expected = load_metrics(SCHEMA_1), make_metrics(scores)
    assert isinstance(found, Metrics)
    assert found.metrics == expected.metrics
    assert found.foreground_mean == expected.foreground_mean
    assert found.classes == expected.classes
    assert [case.scores for case in found.cases] == [case.scores for case in expected.cases]
    assert found.cases[1].classes["2"].scores == {"dsc": 0.3, "nsd": 0.1}
    # Files of schema 1 do not describe the scores over cases.
    assert format_table(found) == format_table(expected.model_copy(update={"over_cases": {}}))


@pytest.mark.parametrize(("stated", "expected"), [("px", "px"), (None, "mm")])
def test_the_first_files_of_schema_1_state_no_unit_per_case(
    earlier: tuple[Path, dict[str, Any]], stated: str | None, expected: str
) -> None:
    path, content = earlier
    for case in content["cases"]:
        del case["unit"]
    if stated is None:
        del content["unit"]
    else:
        content["unit"] = stated
    path.write_text(json.dumps(content))
    metrics = load_metrics(path)
    assert isinstance(metrics, Metrics)
    assert (metrics.unit, metrics.cases[0].unit) == (expected, expected)


def test_a_damaged_file_of_schema_1_is_named(earlier: tuple[Path, dict[str, Any]]) -> None:
    path, content = earlier
    for damage in ({"cases": 3}, {"cases": [{"case": "a"}]}, {"classes": None}):
        path.write_text(json.dumps(content | damage))
        with pytest.raises(UserError, match="not valid") as caught:
            load_metrics(path, "Evaluate again.")
        assert (caught.value.file, caught.value.remedy) == (str(path), "Evaluate again.")


def test_infinite_scores_are_valid_json(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    metrics = make_metrics({"a": [(math.inf,), (2.0,)], "b": [(math.inf,), (NAN,)]}, keys=["hd95"])
    document, table = write_metrics(metrics, tmp_path)
    content = json.loads(document.read_text(), parse_constant=refuse)
    assert content["cases"][0]["classes"]["1"]["scores"]["hd95"] == "Infinity"
    assert content["classes"]["1"]["scores"]["hd95"] == {
        "mean": "Infinity",
        "std": None,
        "n_finite": 0,
        "n_infinite": 2,
    }
    assert content["classes"]["2"]["scores"]["hd95"] == {"mean": 2.0, "std": 0.0, "n_finite": 1, "n_infinite": 0}
    assert load_metrics(document).model_dump_json() == metrics.model_dump_json()
    assert table.read_text().splitlines()[1].split(",")[3] == "inf"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist") as caught:
        load_metrics(tmp_path / "metrics.json")
    assert "umseg evaluate" in str(caught.value.remedy)
