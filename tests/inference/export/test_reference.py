"""Export against values recorded from the published system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.inference.export.whole import restore_label_map, restore_probabilities
from tests.preprocess.test_reference import CONFIGURATIONS
from umseg.dataset.io.images import read_image
from umseg.planning.foreign import read_foreign_plan
from umseg.preprocess import preprocess_case


@pytest.mark.parametrize(("dataset", "configuration"), CONFIGURATIONS)
def test_export(shared: Path, dataset: str, configuration: str) -> None:
    folder = shared / "reference" / "preprocess" / dataset
    expected = np.load(folder / f"export_{configuration}_c0.npz", allow_pickle=False)
    plan = read_foreign_plan(folder / "nnUNetPlans.json")
    image = read_image([folder / "raw" / "imagesTr" / "c0_0000.nii.gz"])
    settings = plan.configuration(configuration)
    properties = preprocess_case(image.array, image.spacing, plan, settings).properties

    label = restore_label_map(expected["logits"], properties, plan, settings)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, expected["seg"])

    probabilities = restore_probabilities(expected["logits"], properties, plan, settings)
    np.testing.assert_allclose(probabilities, expected["probabilities"], rtol=0, atol=1e-5)
