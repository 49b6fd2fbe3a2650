from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umseg.common.errors import UserError
from umseg.dataset.check import Problem, check_case, raise_for_problems
from umseg.dataset.dataset import Case
from umseg.dataset.description import DatasetDescription
from umseg.dataset.images import Geometry, Image, LabelMap

DESCRIPTION = DatasetDescription(
    channel_names={"0": "CT", "1": "PET"}, labels={"background": 0, "a": 1, "b": 2}, numTraining=1, file_ending=".mha"
)
CASE = Case(id="c", images=(Path("i/c_0000.mha"), Path("i/c_0001.mha")), label=Path("l/c.mha"))
GRID = Geometry((6, 5, 4), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


def make(shape: tuple[int, int, int] = (4, 5, 6), channels: int = 2) -> tuple[Image, LabelMap]:
    label = np.zeros(shape, np.int8)
    label[1, 1, 1:3] = 1, 2
    return (
        Image(np.zeros((channels, 4, 5, 6), np.float32), (3.0, 2.0, 1.0), GRID),
        LabelMap(label, (3.0, 2.0, 1.0), GRID),
    )


def kinds(image: Image, label: LabelMap) -> list[tuple[str, str]]:
    return [(problem.severity, problem.problem) for problem in check_case(CASE, image, label, DESCRIPTION)]


def test_good_case_has_no_problem() -> None:
    assert kinds(*make()) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_number_of_channels(channels: int) -> None:
    image, label = make(channels=channels)
    (problem,) = check_case(CASE, image, label, DESCRIPTION)
    assert problem.problem == "The image has the wrong number of channels."
    assert (problem.found, problem.expected.split(" (")[0]) == (f"{channels} channels", "2 channels")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(value: float) -> None:
    image, label = make()
    image.array[1, 2, 3, 4] = value
    (problem,) = check_case(CASE, image, label, DESCRIPTION)
    assert problem.file == CASE.images[1]
    assert problem.found == "1 voxels that are NaN or infinite in channel 1"


def test_opposite_infinities_do_not_cancel() -> None:
    image, label = make()
    image.array[0, 0, 0, :2] = np.inf, -np.inf
    assert len(kinds(image, label)) == 1


def test_largest_float_is_a_number() -> None:
    image, label = make()
    image.array[:] = np.finfo(np.float32).max
    assert kinds(image, label) == []


@pytest.mark.parametrize(("value", "named"), [(3, "values 3"), (-1, "values -1"), (100, "values 100")])
def test_undeclared_label(value: int, named: str) -> None:
    image, label = make()
    label.array[0, 0, 0] = value
    (problem,) = check_case(CASE, image, label, DESCRIPTION)
    assert (problem.found, problem.expected, problem.file) == (named, "values 0 to 2", CASE.label)


def test_shape() -> None:
    image, label = make(shape=(4, 5, 7))
    (problem,) = check_case(CASE, image, label, DESCRIPTION)
    assert problem.problem == "Image and label map differ in shape."
    assert ("4 x 5 x 7" in problem.found, "4 x 5 x 6" in problem.expected) == (True, True)


@pytest.mark.parametrize(("factor", "wrong"), [(1.0001, False), (1.01, True)])
def test_spacing(factor: float, wrong: bool) -> None:
    image, label = make()
    label = dataclasses.replace(label, spacing=(3.0, 2.0, factor))
    assert kinds(image, label) == ([("error", "Image and label map differ in spacing.")] if wrong else [])


@pytest.mark.parametrize(
    "change", [{"origin": (0.0, 1.0, 0.0)}, {"direction": (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)}, {"size": (6, 5)}]
)
def test_origin_and_direction_are_warnings(change: dict[str, Any]) -> None:
    image, label = make()
    label = dataclasses.replace(label, geometry=dataclasses.replace(GRID, **change))
    assert kinds(image, label) == [("warning", "Image and label map differ in origin or direction.")]


def test_rounding_of_origin_and_direction_is_tolerated() -> None:
    image, label = make()
    grid = dataclasses.replace(GRID, origin=(0.005, 0.0, 0.0), direction=(1.0, 1e-5, 0, 0, 1.0, 0, 0, 0, 1.0))
    assert kinds(image, dataclasses.replace(label, geometry=grid)) == []


def test_all_problems_of_a_case_are_found() -> None:
    image, label = make(shape=(4, 5, 7), channels=1)
    image.array[0, 0, 0, 0] = np.nan
    label.array[0, 0, 0] = 9
    assert len(kinds(image, label)) == 4


def problem(number: int, kind: str = "Wrong.", severity: str = "error") -> Problem:
    return Problem(kind, f"case_{number}", Path(f"c{number}.mha"), "this", "that", "Mend it.", severity)  # type: ignore[arg-type]


def test_no_problem_no_error() -> None:
    raise_for_problems([])


def test_one_problem_is_told_with_all_fields() -> None:
    with pytest.raises(UserError, match="Case case_1: Wrong") as raised:
        raise_for_problems([problem(1)])
    error = raised.value
    assert (error.file, error.found, error.expected, error.remedy) == ("c1.mha", "this", "that", "Mend it.")


def test_many_problems_fit_one_screen_and_show_every_kind(tmp_path: Path) -> None:
    problems = [problem(n, "Frequent." + "x" * 10) for n in range(500)] + [problem(7, "Rare.")]
    with pytest.raises(UserError) as raised:
        raise_for_problems(problems, tmp_path)
    text = str(raised.value)
    assert len(text.splitlines()) <= 24
    assert all(len(line) <= 200 for line in text.splitlines())
    assert "501 errors in 500 cases" in text
    assert "500 x Frequent" in text
    assert "1 x Rare." in text
    assert "case_7: c7.mha" in text
    assert "and 491 more" in text


def test_long_texts_are_cut() -> None:
    problems = [dataclasses.replace(problem(n), found="x" * 1000) for n in range(2)]
    with pytest.raises(UserError) as raised:
        raise_for_problems(problems)
    assert max(map(len, str(raised.value).splitlines())) < 200


def test_warnings_are_logged_once_per_kind_and_do_not_stop(caplog: pytest.LogCaptureFixture) -> None:
    raise_for_problems([problem(n, "Shifted.", "warning") for n in range(30)])
    (record,) = caplog.records
    assert "Shifted. 30 cases" in record.getMessage()
    assert "case_0" in record.getMessage()
