from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umseg.common.text import counted
from umseg.dataset.check.case import check_case
from umseg.dataset.dataset import Case
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import Image, LabelMap
from umseg.dataset.io.source import Notice

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
    assert (problem.found, problem.expected.split(" (")[0]) == (counted(channels, "channel"), "2 channels")


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


def test_ignore_label_is_declared() -> None:
    image, label = make()
    label.array[0, 0, 0] = 3
    labels = {"background": 0, "a": 1, "b": 2, "ignore": 3}
    description = DatasetDescription(**{**DESCRIPTION.model_dump(), "labels": labels})
    assert check_case(CASE, image, label, description) == []
    label.array[0, 0, 0] = 4
    (problem,) = check_case(CASE, image, label, description)
    assert (problem.found, problem.expected) == ("values 4", "values 0 to 3, the last for voxels to be ignored")


def test_values_of_regions_are_declared() -> None:
    image, label = make()
    changes = {"labels": {"background": 0, "whole": [1, 2, 3], "core": [3]}, "regions_class_order": [1, 3]}
    description = DatasetDescription(**{**DESCRIPTION.model_dump(), **changes})
    label.array[0, 0, 0] = 3
    assert check_case(CASE, image, label, description) == []
    label.array[0, 0, 0] = 4
    assert len(check_case(CASE, image, label, description)) == 1


def test_instances_have_any_number_but_no_negative_one() -> None:
    image, label = make()
    changes = {"task": "instance", "labels": {"background": 0, "cell": 1}}
    description = DatasetDescription(**{**DESCRIPTION.model_dump(), **changes})
    label.array[0, 0, :2] = 7, 99
    assert check_case(CASE, image, label, description) == []
    label.array[0, 0, 0] = -7
    (problem,) = check_case(CASE, image, label, description)
    assert problem.found == "values -7"


def test_slice_spacing_of_a_2d_file_is_not_compared() -> None:
    flat, grid = np.zeros((1, 5, 6), np.int8), Geometry((6, 5, 1), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), GRID.direction)
    image = Image(np.zeros((2, 1, 5, 6), np.float32), (3.0, 2.0, 1.0), grid)
    plane = Geometry((6, 5), (1.0, 2.0), (0.0, 0.0), (1.0, 0, 0, 1.0))
    wider = dataclasses.replace(plane, spacing=(1.5, 2.0))
    assert [severity for severity, _ in kinds(image, LabelMap(flat, (1998.0, 2.0, 1.0), plane))] == ["warning"]
    assert [severity for severity, _ in kinds(image, LabelMap(flat, (1998.0, 2.0, 1.5), wider))] == ["error"]


def test_notices_of_the_reader_are_warnings() -> None:
    image, label = make()
    notice = Notice("Left out.", Path("i/c_0000.mha"), "this", "that", "nothing")
    (problem,) = check_case(CASE, dataclasses.replace(image, notices=(notice,)), label, DESCRIPTION)
    assert (problem.severity, problem.case, problem.problem, problem.file) == ("warning", "c", "Left out.", notice.file)


def test_shape() -> None:
    image, label = make(shape=(4, 5, 7))
    (problem,) = check_case(CASE, image, label, DESCRIPTION)
    assert problem.problem == "Image and label map differ in shape."
    assert ("4 x 5 x 7" in problem.found, "4 x 5 x 6" in problem.expected) == (True, True)


@pytest.mark.parametrize(("factor", "wrong"), [(1.0001, False), (1.01, True)])
def test_spacing(factor: float, wrong: bool) -> None:
    image, label = make()
    label = dataclasses.replace(label, geometry=dataclasses.replace(GRID, spacing=(factor, 2.0, 3.0)))
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
