from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.builder import make_case, write_dataset, write_description, write_image
from umseg.common.errors import UserError
from umseg.dataset.check.problems import Problem
from umseg.dataset.dataset import load_dataset, survey_dataset
from umseg.planning.fingerprint import Fingerprint, extract_fingerprint
from umseg.planning.foreign import read_foreign_plan
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


@pytest.mark.parametrize("name", ["D1_ct_aniso", "D2_mr_iso_crop", "D3_ct_lowres"])
def test_plan_equals_the_recorded_one(shared: Path, name: str) -> None:
    folder = shared / "reference" / "preprocess" / name
    recorded = read_foreign_plan(folder / "nnUNetPlans.json")
    dataset = load_dataset(folder / "raw")
    memory = json.loads((folder / "meta.json").read_text())["gpu_memory_target_in_gb"]
    mine = make_plan(extract_fingerprint(dataset, quiet=True), dataset.description, "nnunet", memory)
    assert mine.configurations == recorded.configurations
    for field in ("transpose_forward", "transpose_backward", "original_median_shape_after_transp"):
        assert getattr(mine, field) == getattr(recorded, field)
    assert mine.original_median_spacing_after_transp == pytest.approx(recorded.original_median_spacing_after_transp)


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


def test_problems_go_where_the_caller_wants_them(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, num_cases=3)
    write_image(folder / "labelsTr" / "case_1.nii.gz", make_case(1)[1], (1.0, 1.5, 2.0), origin=(5.0, 0.0, 0.0))
    given: list[Problem] = []
    extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100, report=given.extend)
    assert [(problem.case, problem.severity) for problem in given] == [("case_1", "warning")]


def test_data_set_without_a_usable_case_is_reported_not_measured(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, num_cases=1)
    write_description(folder, 1, channel_names={"0": "CT", "1": "PET"})
    dataset, problems = survey_dataset(folder)
    assert (len(dataset.cases), len(problems)) == (0, 1)

    def stop(found: object) -> None:
        assert found == []
        raise UserError("stopped")

    with pytest.raises(UserError, match="stopped"):
        extract_fingerprint(dataset, quiet=True, report=stop)


@pytest.mark.parametrize("shape", [(1, 14, 12), (14, 1, 12), (14, 12, 1)])
def test_flat_volumes_are_planned_in_2d_whatever_their_flat_axis(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    write_description(tmp_path, 3)
    for number in range(3):
        image, label = make_case(number, shape)
        write_image(tmp_path / "imagesTr" / f"case_{number}_0000.nii.gz", image, (0.5, 0.6, 0.7))
        write_image(tmp_path / "labelsTr" / f"case_{number}.nii.gz", label, (0.5, 0.6, 0.7))
    dataset = load_dataset(tmp_path)
    fingerprint = extract_fingerprint(dataset, quiet=True, num_samples=100)
    assert fingerprint.shapes_after_crop == (shape,) * 3
    plan = make_plan(fingerprint, dataset.description)
    assert list(plan.configurations) == ["2d"]
    assert plan.transpose_forward[0] == shape.index(1)
    assert plan.original_median_shape_after_transp == (1, 14, 12)


def test_instances_are_counted_as_foreground(tmp_path: Path) -> None:
    write_dataset(tmp_path, num_cases=2)
    write_description(tmp_path, 2, task="instance", labels={"background": 0, "cell": 1})
    label = make_case(0)[1].astype(np.int16) * 300
    write_image(tmp_path / "labelsTr" / "case_0.nii.gz", label, (1.0, 1.5, 2.0))
    dataset = load_dataset(tmp_path)
    fingerprint = extract_fingerprint(dataset, quiet=True, num_samples=100)
    assert make_plan(fingerprint, dataset.description).configurations


def test_transparency_is_left_out_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_description(tmp_path, 2, channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png")
    for number in range(2):
        colours = np.random.default_rng(number).integers(1, 99, (16, 18, 4)).astype(np.uint8)
        colours[..., 3] = 255
        write_image(tmp_path / "imagesTr" / f"a{number}_0000.png", colours, is_vector=True)
        write_image(tmp_path / "labelsTr" / f"a{number}.png", np.eye(16, 18, dtype=np.uint8))
    fingerprint = extract_fingerprint(load_dataset(tmp_path), quiet=True, num_samples=100)
    assert set(fingerprint.foreground_intensity_properties_per_channel) == {"0", "1", "2"}
    (record,) = caplog.records
    assert "transparency of an image is left out: it is the same everywhere. 2 cases" in record.getMessage()


def test_transparency_that_varies_is_an_error(tmp_path: Path) -> None:
    write_description(tmp_path, 1, channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png")
    colours = np.random.default_rng(0).integers(1, 99, (16, 18, 4)).astype(np.uint8)
    write_image(tmp_path / "imagesTr" / "a_0000.png", colours, is_vector=True)
    write_image(tmp_path / "labelsTr" / "a.png", np.eye(16, 18, dtype=np.uint8))
    with pytest.raises(UserError, match="wrong number of channels") as raised:
        extract_fingerprint(load_dataset(tmp_path), quiet=True, num_samples=100)
    assert raised.value.found == "4 channels, the last a transparency that varies"


def test_fingerprint_of_unchanged_data_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_dataset(tmp_path / "toy")
    earlier = extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100)
    monkeypatch.setattr("umseg.planning.fingerprint.measure_case", None)
    assert extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100, earlier=earlier) == earlier
    folder.rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "moved").rename(tmp_path / "elsewhere" / "toy")
    assert extract_fingerprint(load_dataset(moved), quiet=True, earlier=earlier) == earlier


@pytest.mark.parametrize("changed", ["image", "label", "dataset.json"])
def test_changed_data_are_measured_anew(tmp_path: Path, changed: str) -> None:
    folder = write_dataset(tmp_path / "toy")
    earlier = extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100)
    image, label = make_case(0)
    if changed == "image":
        write_image(folder / "imagesTr" / "case_0_0000.nii.gz", image + 1000, (1.0, 1.5, 2.0))
    elif changed == "label":
        label[0, 0, 0] = 1
        write_image(folder / "labelsTr" / "case_0.nii.gz", label, (1.0, 1.5, 2.0))
    else:
        write_description(folder, 3, labels={"background": 0, "organ": 1, "cyst": 2})
    later = extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100, earlier=earlier)
    assert later is not earlier
    assert later.content_hash != earlier.content_hash
    assert (later == earlier.model_copy(update={"content_hash": later.content_hash})) is False


def test_classes_are_measured(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "toy", num_cases=2)
    _, label = make_case(0)
    label[label == 2] = 0
    write_image(folder / "labelsTr" / "case_0.nii.gz", label, (1.0, 1.5, 2.0))
    classes = extract_fingerprint(load_dataset(folder), quiet=True, num_samples=100).classes
    assert classes["organ"].cases == 2
    assert classes["tumour"].cases == 1
    assert classes["tumour"].median_size == 1 * 1.0 * 1.5 * 2.0
