"""The page: what it shows, that it needs nothing else, and that texts of the data stay texts."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

import pytest

from tests.reports.page.builder import SCORES, Elements, make_report, make_source, outside
from umseg.reports.page.contents import report_page
from umseg.reports.page.report import Source
from umseg.reports.page.sources.scores import Predicted

EVIL = "<script>alert(1)</script>"


def rows(page: Elements) -> list[str]:
    return [have["data-case"] for have in page.of("tr") if "data-case" in have]


def data(page: Elements) -> dict[str, Any]:
    (text,) = (text for text in page.texts["script"] if text.startswith('{"classes"'))
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def test_the_worst_case_comes_first_in_cards_and_table() -> None:
    page = Elements(report_page(make_report()))
    assert rows(page) == ["bad", "fair", "good"]
    assert [have["data-case"] for have in page.of("article")] == ["bad", "fair", "good"]
    assert data(page)["order"] == ["bad", "fair", "good"]


def test_the_table_by_class_states_mean_deviation_and_quartiles() -> None:
    text = Elements(report_page(make_report())).text
    assert "0.650 ± 0.268" in text
    assert "0.700 [0.500, 0.825]" in text
    assert "mean of classes" in text


def test_the_script_has_the_scores_of_every_class_and_their_mean() -> None:
    (scores,) = data(Elements(report_page(make_report())))["scores"]
    assert scores["bad"]["1"] == {"dsc": 0.3, "nsd": 0.5}
    assert scores["bad"][""]["dsc"] == pytest.approx(0.35)


def test_a_page_loads_nothing_from_elsewhere() -> None:
    page = Elements(report_page(make_report(make_source("a"), make_source("b"))))
    assert not outside(page)
    assert not re.search(r"url\(|@import", " ".join(page.texts["style"]))
    (policy,) = (have["content"] for have in page.of("meta", http_equiv="Content-Security-Policy"))
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_names_of_cases_classes_and_sources_stay_texts() -> None:
    names = [EVIL, "a\" onclick='x'", "</script><!--", "{{ 7 * 7 }}", "\u2028&amp;"]
    source = make_source(EVIL, dict(zip(names, [SCORES["bad"]] * len(names), strict=True)))
    report = dataclasses.replace(make_report(source), title=EVIL, legend=(EVIL, "b"), notes=(EVIL,), command=EVIL)
    page = Elements(report_page(report))
    plain = Elements(report_page(make_report(make_source("s", {f"c{n}": SCORES["bad"] for n in range(len(names))}))))
    assert len(page.of("script")) == len(plain.of("script"))
    assert set(rows(page)) == set(names)
    assert not [have for _, have in page.found if any(name.startswith("on") for name in have)]
    assert set(data(page)["order"]) == set(names)
    assert page.text.count(EVIL) > len(names)


def test_the_same_contents_make_the_same_page() -> None:
    assert report_page(make_report()) == report_page(make_report())


def test_two_sources_stand_side_by_side_and_the_better_mean_is_marked() -> None:
    better = {case: [(min(1.0, a + 0.1), b) for a, b in scores] for case, scores in SCORES.items()}
    page = Elements(report_page(make_report(make_source("first"), make_source("second", better))))
    assert [have["data-key"] for have in page.of("button") if "data-key" in have] == ["dsc", "nsd", "confidence"] * 2
    marked = list(page.of("b", class_="best"))
    # One in the caption; DSC of the second in two classes and their mean, NSD of both, which are equal.
    assert len(marked) == 1 + 3 + 6


def test_predicted_quality_stands_beside_the_score_with_its_rank_correlation() -> None:
    text = Elements(report_page(make_report())).text
    assert "DSC against predicted quality" in text
    assert "Spearman's rank correlation: 1.00." in text


def test_without_references_the_least_certain_case_comes_first() -> None:
    stated = {
        "sure": Predicted(0.99, {"liver": 0.99}, {"liver": 1500.0}, {"liver": 1}),
        "unsure": Predicted(0.4, {"liver": 0.4}, {"liver": 20.0}, {"liver": 7}, cut=("liver",)),
    }
    source = Source("predictions", None, stated, None, (), ("silent", "sure", "unsure"))
    page = Elements(report_page(make_report(source)))
    assert rows(page) == ["unsure", "sure", "silent"]
    assert "At the border of the image: liver." in page.text
    assert not page.of("section", id="scores")


def test_a_case_without_a_score_has_a_dash_and_comes_last() -> None:
    scores = {**SCORES, "empty": [(math.nan, math.nan), (math.nan, math.nan)]}
    page = Elements(report_page(make_report(make_source("m", scores))))
    assert rows(page)[-1] == "empty"
    (scored,) = data(page)["scores"]
    assert scored["empty"][""] == {}


def test_every_picture_and_chart_has_a_text_for_those_who_do_not_see_it() -> None:
    page = Elements(report_page(make_report()))
    assert all(have.get("aria-label") for have in page.of("svg", class_="chart"))
    assert all(have.get("aria-label") for have in page.of("div") if "stack" in have.get("class", ""))
    assert all("alt" in have for have in page.of("img"))
    assert page.of("html", lang="en")


def test_names_that_are_not_utf_8_do_not_keep_a_page_from_being_written() -> None:
    page = report_page(make_report(make_source("m", {"case_\udcff": SCORES["bad"], "b": SCORES["good"]})))
    assert "case_?" in page
    page.encode("utf-8")
