from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.builder import make_case, write_dataset, write_image
from umseg.common.errors import UserError
from umseg.dataset.dataset import load_dataset
from umseg.planning.fingerprint import Fingerprint, extract_fingerprint
from umseg.planning.planner import make_plan


@pytest.mark.parametrize("name", ["D1_ct_aniso", "D2_mr_iso_crop", "D3_ct_lowres"])
def test_fingerprint_equals_the_recorded_one(shared: Path, name: str) -> None:
    folder = shared / "reference" / "preprocess" / name
    recorded = json.loads((folder / "dataset_fingerprint.json").read_text())
    dataset = load_dataset(folder / "raw")
    mine = extract_fingerprint(dataset, quiet=True).model_dump(mode="json")
    for channel, statistics in recorded["foreground_intensity_properties_per_channel"].items():
        found = mine["foreground_intensity_properties_per_channel"][channel]
        assert found == pytest.approx(statistics, rel=1e-6)
    for field in ("spacings", "shapes_after_crop", "median_relative_size_after_cropping"):
        assert mine[field] == recorded[field]


def test_hippocampus_is_measured_and_planned(shared: Path) -> None:
    dataset = load_dataset(shared / "data" / "Dataset004_Hippocampus")
    plan = make_plan(extract_fingerprint(dataset, quiet=True, num_samples=10_000), dataset.description)
    configuration = plan.configuration("3d_fullres")
    assert configuration.patch_size == (40, 56, 40)
    assert configuration.spacing == (1.0, 1.0, 1.0)
    assert (configuration.num_stages, configuration.batch_size) == (4, 7)
    assert "3d_lowres" not in plan.configurations


def test_fields_of_a_small_dataset(tmp_path: Path) -> None:
    dataset = load_dataset(write_dataset(tmp_path / "toy", channel_names={"0": "CT", "1": "CT"}))
    fingerprint = extract_fingerprint(dataset, quiet=True, num_samples=3000)
    assert fingerprint.dataset_name == "toy"
    assert fingerprint.case_ids == ("case_0", "case_1", "case_2")
    assert fingerprint.spacings == ((2.0, 1.5, 1.0),) * 3
    assert fingerprint.shapes_after_crop == ((6, 10, 12),) * 3
    assert fingerprint.median_relative_size_after_cropping == 1.0
    first, second = (fingerprint.foreground_intensity_properties_per_channel[channel] for channel in "01")
    assert 1050 < first.mean < 1150
    assert first.min < first.percentile_00_5 < first.median < first.percentile_99_5 < first.max
    assert second.min == first.min + 1


def test_cropping_is_to_the_nonzero_region(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, num_cases=1)
    image, label = make_case(0)
    image[:2] = image[:, :, -3:] = 0
    write_image(folder / "imagesTr" / "case_0_0000.nii.gz", image, (1.0, 1.5, 2.0))
    write_image(folder / "labelsTr" / "case_0.nii.gz", label, (1.0, 1.5, 2.0))
    fingerprint = extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100)
    assert fingerprint.shapes_after_crop == ((4, 10, 9),)
    assert fingerprint.median_relative_size_after_cropping == 4 * 10 * 9 / (6 * 10 * 12)


def test_workers_change_nothing(tmp_path: Path) -> None:
    dataset = load_dataset(write_dataset(tmp_path, num_cases=4))
    alone = extract_fingerprint(dataset, workers=0, quiet=True, num_samples=1000)
    assert extract_fingerprint(dataset, workers=2, quiet=True, num_samples=1000) == alone


def test_fingerprint_survives_json(tmp_path: Path) -> None:
    fingerprint = extract_fingerprint(load_dataset(write_dataset(tmp_path / "toy")), quiet=True, num_samples=100)
    fingerprint.save(tmp_path / "fingerprint.json")
    assert Fingerprint.load(tmp_path / "fingerprint.json", "measure again") == fingerprint


def test_problems_of_all_cases_are_reported_together(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, num_cases=5)
    image, label = make_case(0)
    damaged = folder / "imagesTr" / "case_0_0000.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    write_image(folder / "labelsTr" / "case_1.nii.gz", label[:, :, 1:], (1.0, 1.5, 2.0))
    write_image(folder / "labelsTr" / "case_2.nii.gz", label * 3, (1.0, 1.5, 2.0))
    spoiled = image.astype(np.float32)
    spoiled[0, 0, 0] = np.nan
    write_image(folder / "imagesTr" / "case_3_0000.nii.gz", spoiled, (1.0, 1.5, 2.0))
    with pytest.raises(UserError) as raised:
        extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100)
    text = str(raised.value)
    assert "4 errors in 4 cases" in text
    for expected in ("damaged", "differ in shape", "does not declare", "not numbers", "case_0", "case_3"):
        assert expected in text
    assert "case_4" not in text


def test_case_without_foreground_is_counted_but_not_sampled(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, num_cases=2)
    _, label = make_case(1)
    write_image(folder / "labelsTr" / "case_1.nii.gz", label * 0, (1.0, 1.5, 2.0))
    fingerprint = extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100)
    assert len(fingerprint.spacings) == 2
    assert fingerprint.foreground_intensity_properties_per_channel["0"].mean > 1000


def test_dataset_without_foreground_is_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, num_cases=2)
    for path in (folder / "labelsTr").iterdir():
        write_image(path, make_case(0)[1] * 0, (1.0, 1.5, 2.0))
    with pytest.raises(UserError, match="No case has any foreground"):
        extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100)


def test_shifted_labels_are_only_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_dataset(tmp_path, num_cases=2)
    write_image(folder / "labelsTr" / "case_1.nii.gz", make_case(1)[1], (1.0, 1.5, 2.0), origin=(5.0, 0.0, 0.0))
    extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100)
    assert "differ in origin or direction" in caplog.text
