"""Preprocessing against values recorded from the published system."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from umseg.dataset.io.images import read_image, read_label
from umseg.planning.foreign import read_foreign_plan
from umseg.preprocess import preprocess_case

DATASETS = {
    "D1_ct_aniso": ("2d", "3d_fullres"),
    "D2_mr_iso_crop": ("2d", "3d_fullres"),
    "D3_ct_lowres": ("2d", "3d_fullres", "3d_lowres"),
}
CONFIGURATIONS = [(dataset, configuration) for dataset, names in DATASETS.items() for configuration in names]
CASES = [(*pair, case) for pair in CONFIGURATIONS for case in ("c0", "c1", "c2")]


@pytest.mark.parametrize(("dataset", "configuration", "case"), CASES)
def test_preprocessed_arrays(shared: Path, dataset: str, configuration: str, case: str) -> None:
    folder = shared / "reference" / "preprocess" / dataset
    expected = np.load(folder / f"{configuration}_{case}.npz", allow_pickle=False)
    meta = json.loads((folder / "meta.json").read_text())["cases"][f"{configuration}_{case}"]
    plan = read_foreign_plan(folder / "nnUNetPlans.json")
    image = read_image([folder / "raw" / "imagesTr" / f"{case}_0000.nii.gz"])
    label = read_label(folder / "raw" / "labelsTr" / f"{case}.nii.gz").array

    result = preprocess_case(image.array, image.spacing, plan, configuration, label)

    assert result.data.dtype == np.float32
    np.testing.assert_allclose(result.data, expected["data"], rtol=0, atol=1e-4)
    assert result.label is not None
    assert result.label.dtype == np.int8
    np.testing.assert_array_equal(result.label, expected["seg"][0])
    assert [list(part) for part in result.properties.bbox] == meta["bbox"]
    assert list(result.properties.shape_before_cropping) == meta["shape_before_cropping"]
    assert list(result.properties.shape_after_cropping) == meta["shape_after_cropping_and_before_resampling"]
    counts = {str(value): len(found) for value, found in result.class_locations.items()}
    assert counts == meta["n_class_locations"]

    alone = preprocess_case(image.array, image.spacing, plan, configuration)
    assert alone.label is None
    assert alone.properties == result.properties
    np.testing.assert_array_equal(alone.data, result.data)
