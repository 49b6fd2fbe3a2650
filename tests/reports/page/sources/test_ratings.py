"""The agreement of reviewers, against published examples and by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umseg.common.errors import UserError
from umseg.reports.page.sources.ratings import (
    REMEDY,
    Rating,
    Ratings,
    agreement,
    fleiss_kappa,
    format_agreement,
    merged_rows,
    reviewer_names,
    weighted_kappa,
)

GRADES = st.lists(st.integers(1, 4), min_size=2, max_size=30)


def reviews(*grades: dict[str, int]) -> list[Ratings]:
    return [
        Ratings(page="p", ratings=tuple(Rating(case=c, source="m", rating=g, note=f"n{c}") for c, g in one.items()))
        for one in grades
    ]


def test_fleiss_kappa_is_that_of_the_example_with_14_raters_and_10_subjects() -> None:
    # The example of Wikipedia's article, after Fleiss: kappa = 0.210.
    counts = np.array(
        [
            [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
        ]
    )  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)


def test_weighted_kappa_is_that_of_a_table_by_hand() -> None:
    first, second = [1, 2, 2, 4], [1, 3, 2, 2]
    expected = np.mean([(a - b) ** 2 for a in first for b in second])
    assert weighted_kappa(first, second) == pytest.approx(1 - (5 / 4) / expected)


@given(GRADES)
def test_a_reviewer_agrees_with_himself(grades: list[int]) -> None:
    kappa = weighted_kappa(grades, grades)
    assert math.isnan(kappa) if len(set(grades)) == 1 else kappa == pytest.approx(1)


@given(GRADES)
def test_kappa_is_symmetric_and_at_most_one(grades: list[int]) -> None:
    others = sorted(grades)
    one, other = weighted_kappa(grades, others), weighted_kappa(others, grades)
    assert math.isnan(one) == math.isnan(other)
    assert math.isnan(one) or one == pytest.approx(other)
    assert not one > 1 + 1e-12


def test_agreement_is_over_the_predictions_that_all_have_rated() -> None:
    a, b = reviews({"x": 1, "y": 4, "z": 3}, {"x": 1, "y": 3, "only": 2})
    found = agreement([a.grades, b.grades])
    assert (found.items, found.same, found.near) == (2, 0.5, 1.0)


def test_nothing_in_common_is_no_agreement() -> None:
    a, b = reviews({"x": 1}, {"y": 1})
    assert agreement([a.grades, b.grades]).items == 0
    assert "Rated by all 2 reviewers: 0 predictions." in format_agreement([a, b], ["a", "b"])


def test_the_merged_table_has_a_row_per_prediction_and_a_column_per_reviewer() -> None:
    rows = merged_rows(reviews({"x": 1, "y": 4}, {"x": 2}), ["ann", "bob"])
    assert rows[0] == ["case", "source", "rating of ann", "rating of bob", "mean", "note of ann", "note of bob"]
    assert rows[1:] == [["x", "m", 1, 2, "1.50", "nx", "nx"], ["y", "m", 4, None, "4.00", "ny", ""]]


def test_reviewers_without_a_name_have_that_of_their_file() -> None:
    named = reviews({}, {}, {})
    assert reviewer_names(named, ["a", "a", "b"]) == ["a", "a'", "b"]


def test_a_grade_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ratings.json"
    file.write_text('{"schema_version": 1, "page": "p", "ratings": [{"case": "a", "source": "m", "rating": 5}]}')
    with pytest.raises(UserError, match=r"ratings\.0\.rating"):
        Ratings.load(file, REMEDY)
