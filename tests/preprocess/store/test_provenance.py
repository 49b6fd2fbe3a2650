"""Changes after which a case is preprocessed again, and changes after which it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.preprocess.cases import make_configuration, make_plan, write_dataset
from umseg.dataset.dataset import Dataset
from umseg.preprocess import Origin, case_origins

SPACING = (2.0, 1.0, 1.0)
DIGESTS = ("a", "b", "c")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path / "Dataset900_Small")


def origins(
    dataset: Dataset,
    plan: dict[str, Any] | None = None,
    configuration: dict[str, Any] | None = None,
    scheme: str = "ZScoreNormalization",
) -> dict[str, Origin]:
    made = make_configuration(SPACING, scheme, channels=2).model_copy(update=configuration or {})
    return case_origins(dataset, DIGESTS, make_plan().model_copy(update=plan or {}), made)


def without_statistics() -> dict[str, Any]:
    return {"foreground_intensity_properties_per_channel": {}}


def test_every_case_has_its_files_and_the_common_recipe(dataset: Dataset) -> None:
    found = origins(dataset)
    assert {case: origin.source for case, origin in found.items()} == {"case0": "a", "case1": "b", "case2": "c"}
    assert len({origin.recipe for origin in found.values()}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"configuration": {"spacing": (2.0, 1.0, 1.1)}},
        {"configuration": {"normalization_schemes": ("ZScoreNormalization", "NoNormalization")}},
        {"configuration": {"use_mask_for_norm": (True, False)}},
        {"plan": {"transpose_forward": (1, 0, 2)}},
        {"plan": {"boundary_width": 2}},
    ],
)
def test_what_changes_the_images_changes_the_recipe(dataset: Dataset, change: dict[str, Any]) -> None:
    assert origins(dataset, **change)["case0"] != origins(dataset)["case0"]


@pytest.mark.parametrize(
    "change",
    [
        {"configuration": {"patch_size": (8, 8, 8), "batch_size": 9, "strides": ((1, 1, 1), (1, 2, 2))}},
        {"plan": {"memory_gb": 24, "preset": "nnunet"}},
        {"plan": without_statistics()},
    ],
)
def test_what_only_the_network_sees_does_not(dataset: Dataset, change: dict[str, Any]) -> None:
    assert origins(dataset, **change) == origins(dataset)


def test_statistics_count_where_they_are_used(dataset: Dataset) -> None:
    scheme = "CTNormalization"
    assert origins(dataset, without_statistics(), scheme=scheme) != origins(dataset, scheme=scheme)


def test_classes_are_part_of_the_recipe(dataset: Dataset) -> None:
    labels = {"background": 0, "left": 1, "right": 2, "middle": 3}
    more = dataset.model_copy(update={"description": dataset.description.model_copy(update={"labels": labels})})
    assert origins(more)["case0"] != origins(dataset)["case0"]
