"""What preprocessing makes, and what it takes, is known beforehand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.preprocess.cases import make_configuration, make_image, make_plan
from umseg.planning.plan import Configuration
from umseg.preprocess import preprocess_case
from umseg.preprocess.foresight import foreseen_properties, preprocessed_bytes, preprocessing_bytes

SPACING = (2.0, 1.0, 0.8)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 0.5), (2.0, 0.4)])
def test_the_geometry_is_that_of_the_preprocessed_case(order: tuple[int, int, int], spacing: tuple[float, ...]) -> None:
    plan = make_plan(order, any=make_configuration(spacing))
    image = make_image((12, 18, 20), margin=2)
    case = preprocess_case(image, SPACING, plan, "any")
    assert foreseen_properties(image, SPACING, plan, plan.configuration("any")) == case.properties
    assert preprocessed_bytes(case.properties, len(image)) == case.data.nbytes


@pytest.mark.parametrize(
    ("scheme", "masked", "spacing"),
    [("ZScoreNormalization", False, (1.5, 1.5, 1.5)), ("ZScoreNormalization", True, (1.0, 1.0, 1.0))],
)
def test_the_memory_of_preprocessing(scheme: str, masked: bool, spacing: tuple[float, ...]) -> None:
    configuration = make_configuration(spacing).model_copy(
        update={"normalization_schemes": (scheme,), "use_mask_for_norm": (masked,)}
    )
    plan = make_plan(full=configuration)
    image = np.random.default_rng(0).normal(100, 20, (1, 240, 260, 280)).astype(np.float32)
    told = preprocessing_bytes(foreseen_properties(image, (1.0, 1.0, 1.0), plan, configuration), configuration)
    assert peak_of(image, configuration) == pytest.approx(told, rel=0.15)


def peak_of(image: NDArray[np.float32], configuration: Configuration) -> int:
    plan = make_plan(full=configuration)
    preprocess_case(image[:, :4], (1.0, 1.0, 1.0), plan, "full")  # modules are imported
    tracemalloc.start()
    preprocess_case(image, (1.0, 1.0, 1.0), plan, "full")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak
