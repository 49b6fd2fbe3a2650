"""`umseg compare` from the files of scores to the tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.dataset.builder import write_image
from umseg.cli.app import app
from umseg.common.errors import UserError
from umseg.evaluation import evaluate_folder, write_metrics
from umseg.evaluation.comparison.comparison import Comparison, compare
from umseg.evaluation.comparison.forms import as_csv, latex, markdown
from umseg.evaluation.comparison.methods import read_methods

CASES = 8


def score(root: Path, name: str, wrong: int, *, cases: int = CASES, instances: bool = False) -> Path:
    """The folder with the scores of a method that has so many wrong planes."""
    for number in range(cases):
        reference = np.zeros((8, 9, 10), dtype=np.uint8)
        reference[:4] = 1
        reference[4:6] = 2
        prediction = reference.copy()
        prediction[: wrong + number % 2] = 0
        for folder, array in ((root / "reference", reference), (root / name, prediction)):
            write_image(folder / f"case_{number}.nii.gz", array)
    metrics = evaluate_folder(root / name, root / "reference", missing="skip", instances=instances, quiet=True)
    write_metrics(metrics, root / name)
    return root / name


@pytest.fixture
def three(tmp_path: Path) -> list[str]:
    return [str(score(tmp_path, name, wrong)) for name, wrong in (("a_b", 0), ("second", 1), ("third", 2))]


def test_scores_tests_and_ranks(three: list[str]) -> None:
    comparison = compare(read_methods(three))
    dsc, _ = comparison.quantities
    assert comparison.methods == ("a_b", "second", "third")
    assert [one.rank for one in dsc.methods] == [1, 2, 3]
    assert dsc.methods[2].first == 0
    expected = [json.loads((Path(place) / "metrics.json").read_text()) for place in three]
    means = [np.mean([case["scores"]["dsc"] for case in one["cases"]]) for one in expected]
    assert [one.scores.mean for one in dsc.methods] == pytest.approx(means)
    assert [(pair.first, pair.second) for pair in dsc.pairs] == [
        ("a_b", "second"),
        ("a_b", "third"),
        ("second", "third"),
    ]
    assert dsc.pairs[0].difference == pytest.approx(means[0] - means[1])
    # All eight differences have one sign: 2 of 256 combinations of signs are as extreme, times three pairs.
    assert dsc.pairs[0].p_permutation == pytest.approx(2 / 256)
    assert dsc.pairs[0].p_holm == pytest.approx(3 * 2 / 256)
    assert Comparison.from_json(json.loads(comparison.to_json()), Path("x"), "") == comparison


def test_tables(three: list[str]) -> None:
    comparison = compare(read_methods(three, by_class=True))
    text = markdown(comparison)
    assert text.startswith("| Method ")
    assert text.count("**") % 2 == 0
    assert "### By class" in text
    assert "| Class | a_b DSC ↑" in text
    (one,) = (line for line in text.splitlines() if line.startswith("| 1 "))
    assert len(one.split("|")) == 2 + 1 + 3 * 2
    assert "With 8 cases a difference below" in text
    table = latex(comparison)
    assert r"a\_b & \textbf{0.9" in table
    assert r"second & \underline{0." in table
    assert r"DSC $\uparrow$" in table
    assert r" & \multicolumn{2}{c}{a\_b} & " in table
    assert table.count(r"\end{tabular}") == 2
    rows = list(csv.DictReader(as_csv(comparison).splitlines()))
    assert len(rows) == 2 * 3 * (3 + 3)
    assert (rows[0]["metric"], rows[0]["class"], rows[0]["method"], rows[0]["n"]) == ("dsc", "", "a_b", "8")
    difference = float(rows[0]["mean"]) - float(rows[1]["mean"])
    assert (rows[3]["method"], rows[3]["minus"]) == ("a_b", "second")
    assert float(rows[3]["mean"]) == pytest.approx(difference)
    assert (rows[-1]["class"], rows[-1]["minus"]) == ("2", "third")


def test_seeds_are_nested(three: list[str], tmp_path: Path) -> None:
    again = score(tmp_path, "again", 1)
    comparison = compare(read_methods([f"one={three[0]},{again}", f"two={three[2]}"]))
    assert comparison.seeds == (2, 1)
    pair = comparison.quantities[0].pairs[0]
    assert pair.p_holm == pair.p
    # Two trainings that differ so much leave nothing certain.
    assert pair.p > 10 * pair.p_permutation
    assert "and 1 seed a difference" in markdown(comparison)


def test_objects_and_folds(tmp_path: Path) -> None:
    places = [str(score(tmp_path, name, wrong, instances=True)) for name, wrong in (("one", 0), ("two", 3))]
    assert [quantity.key for quantity in read_methods(places).quantities] == ["f1", "precision", "recall", "dsc"]
    folds = tmp_path / "nnunet__3d"
    for fold in (0, 1):
        target = folds / f"fold_{fold}" / "validation" / "metrics.json"
        target.parent.mkdir(parents=True)
        content = json.loads((tmp_path / "one" / "metrics.json").read_text())
        content["cases"] = content["cases"][fold::2]
        target.write_text(json.dumps(content))
    (folds / "model.json").write_text("{}")
    together = read_methods([str(folds), places[1]])
    assert together.names == ("nnunet__3d", "two")
    assert len(together.cases) == CASES
    with pytest.raises(UserError, match="not scored on the same cases"):
        read_methods([str(folds / "fold_0"), places[1]])
    some = read_methods([str(folds / "fold_0"), places[1]], only_common=True)
    assert some.names[0] == "nnunet__3d/fold_0"
    assert (len(some.cases), len(some.left_out)) == (CASES // 2, CASES // 2)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["only"], "There are not two methods to compare."),
        (["x=a", "x=a"], "There are not two methods to compare."),
        (["x=a", "y=nowhere"], "There are no scores."),
        (["x=a", "y="], "A method is not given as NAME=PLACE."),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[str], problem: str) -> None:
    score(tmp_path, "a", 0)
    score(tmp_path, "only", 0)
    given = [text.replace("=a", f"={tmp_path / 'a'}").replace("only", str(tmp_path / "only")) for text in arguments]
    result = CliRunner().invoke(app, ["compare", *given])
    assert result.exit_code == 2
    assert problem in result.stderr
    with pytest.raises(UserError) as caught:
        read_methods(given)
    assert caught.value.problem == problem


def test_the_command(three: list[str], tmp_path: Path) -> None:
    target = tmp_path / "table.tex"
    result = CliRunner().invoke(app, ["compare", *three, "--output", str(target), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["methods"] == ["a_b", "second", "third"]
    assert target.read_text().startswith(r"\begin{tabular}")
    result = CliRunner().invoke(app, ["compare", *three, "--output", str(tmp_path / "table.doc")])
    assert result.exit_code == 2
    assert ".md or .csv or .tex" in result.stderr
