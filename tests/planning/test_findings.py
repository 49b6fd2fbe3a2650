"""What the data say about training: each kind in one sentence, with counts and names."""

from __future__ import annotations

import numpy as np
import pytest

from umseg.dataset.crop import nonzero_region
from umseg.planning.findings import (
    CaseFindings,
    case_warnings,
    constant_channels,
    dataset_warnings,
    fold_warnings,
    share_outside,
)

FINE = CaseFindings(classes=("a",))


def test_constant_channels_are_found_whatever_their_value() -> None:
    image = np.random.default_rng(0).normal(size=(4, 3, 4, 5)).astype(np.float32)
    image[1], image[3] = 0, 7
    assert constant_channels(image) == (1, 3)
    # The middle slice alone does not make a channel constant.
    image[1, 0, 0, 0] = 1
    assert constant_channels(image) == (3,)


def test_the_share_of_the_foreground_where_the_image_is_zero() -> None:
    image = np.ones((1, 4, 4, 4), np.float32)
    image[:, :2] = 0
    foreground = np.zeros((4, 4, 4), bool)
    foreground[1:, 0, 0] = True
    assert share_outside(foreground, *nonzero_region(image)) == pytest.approx(1 / 3)
    assert share_outside(foreground & False, *nonzero_region(image)) == 0
    # Zeros that the image encloses belong to its region.
    image[:, :] = 1
    image[0, 1, 1, 1] = 0
    foreground[:] = False
    foreground[1, 1, 1] = True
    assert share_outside(foreground, *nonzero_region(image)) == 0


def test_nothing_is_said_of_ordinary_data() -> None:
    findings = {f"c{number}": FINE for number in range(6)}
    assert list(case_warnings(findings, ["T1"])) == []
    assert list(dataset_warnings(findings, ["a"])) == []
    assert list(fold_warnings(findings, ["a"], {"0": (["c0", "c1"], ["c2"])})) == []


def test_a_blank_image_and_a_constant_channel_are_named() -> None:
    findings = {
        "c0": FINE.model_copy(update={"constant": (0, 1), "outside": 1.0}),
        "c1": FINE.model_copy(update={"constant": (1,)}),
        "c2": FINE,
    }
    blank, channel = case_warnings(findings, ["T1", "T2"])
    assert blank.startswith("The image is the same value everywhere in 1 of 3 cases: c0.")
    assert channel == "Channel T2 is the same value everywhere in 1 of 3 cases: c1."
    (alone,) = case_warnings({"c0": FINE.model_copy(update={"constant": (0,)})}, ["CT"])
    assert alone.startswith("The image is the same value everywhere in 1 of 1 case: c0.")


def test_cases_without_foreground_or_with_foreground_outside_are_named() -> None:
    many = {f"e{number}": CaseFindings(classes=()) for number in range(9)}
    empty, outside = case_warnings(
        {
            **many,
            "c1": FINE.model_copy(update={"outside": 0.345}),
            "c2": FINE.model_copy(update={"outside": 0.002}),
        },
        ["MRI"],
    )
    assert empty == "There is no foreground in 9 of 11 cases: e0, e1, e2, e3, e4 and 4 more."
    assert "in 1 of 11 cases: c1 (34%)" in outside


@pytest.mark.parametrize(
    ("count", "said"), [(1, "only --fold all"), (2, "only 2 cases"), (4, "only 4 cases"), (5, None)]
)
def test_few_cases(count: int, said: str | None) -> None:
    found = list(dataset_warnings({f"c{number}": FINE for number in range(count)}, ["a"]))
    assert [said in text for text in found if said] == ([True] if said else [])
    assert len(found) == (1 if said else 0)


def test_a_rare_class_is_named_with_its_cases() -> None:
    findings = {f"c{number}": CaseFindings(classes=("a", "b") if number == 3 else ("a",)) for number in range(6)}
    (rare,) = dataset_warnings(findings, ["a", "b", "c"])
    assert "b in 1 (c3)" in rare
    folds = {
        "0": (["c0", "c1"], ["c3"]),
        "1": (["c3"], ["c0", "c1"]),
        "2": (["c0"], ["c1"]),
        "all": (list(findings), list(findings)),
    }
    untrained, unscored = fold_warnings(findings, ["a", "b", "c"], folds)
    assert untrained.startswith("Classes that no training case of a fold has")
    assert untrained.endswith(": b (folds 0, 2), c (folds 0, 1, 2, all).")
    assert unscored.endswith(": b (fold 1).")
