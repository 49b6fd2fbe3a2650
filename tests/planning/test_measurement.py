"""Measurements that a killed plan keeps: used again for the same files, and for no others."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.dataset.builder import make_case, write_dataset, write_description, write_image
from umseg.common.errors import UserError
from umseg.dataset.dataset import Case, load_dataset
from umseg.dataset.training_case import TrainingCase, read_training_case
from umseg.planning import measurement
from umseg.planning.fingerprint import Fingerprint, extract_fingerprint
from umseg.planning.measurement import Measurement, measure_case


def extract(folder: Path, kept: Path) -> Fingerprint:
    return extract_fingerprint(load_dataset(folder), quiet=True, num_samples=300, kept=kept)


def test_a_killed_run_goes_on_with_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, kept = write_dataset(tmp_path / "toy", num_cases=3), tmp_path / "kept"
    whole = extract_fingerprint(load_dataset(folder), quiet=True, num_samples=300)
    reads = []

    def counted(case: Case, *rest: Any) -> TrainingCase:
        reads.append(case.id)
        if len(reads) == 3:
            raise KeyboardInterrupt
        return read_training_case(case, *rest)

    monkeypatch.setattr(measurement, "read_training_case", counted)
    with pytest.raises(KeyboardInterrupt):
        extract(folder, kept)
    assert extract(folder, kept) == whole
    assert reads == [f"case_{number}" for number in (0, 1, 2, 2)]


def test_everything_of_a_measurement_is_kept(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "toy", num_cases=1, channel_names={"0": "CT", "1": "PET"})
    write_image(folder / "labelsTr" / "case_0.nii.gz", make_case(0)[1], (1.0, 1.5, 2.0), origin=(5.0, 0.0, 0.0))
    dataset = load_dataset(folder)
    (case,) = dataset.cases
    first, problems = measure_case(case, dataset.description, None, 50, tmp_path / "kept")
    second, again = measure_case(case, dataset.description, None, 50, tmp_path / "kept")
    assert first is not None
    assert second is not None
    assert [(problem.severity, problem.case) for problem in problems] == [("warning", "case_0")]
    assert again == problems
    assert fields(first) == fields(second)
    assert len(first.draws) == 2
    for before, after in zip(first.draws, second.draws, strict=True):
        assert (before.values.dtype, before.counts.dtype) == (after.values.dtype, after.counts.dtype)
        np.testing.assert_array_equal(before.values, after.values)
        np.testing.assert_array_equal(before.counts, after.counts)


def fields(measured: Measurement) -> dict[str, Any]:
    return {name: value for name, value in asdict(measured).items() if name != "draws"}


@pytest.mark.parametrize("changed", ["label", "description", "samples", "damaged"])
def test_other_files_are_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    folder, kept = write_dataset(tmp_path / "toy", num_cases=1), tmp_path / "kept"
    dataset = load_dataset(folder)
    measure_case(dataset.cases[0], dataset.description, None, 50, kept)
    (file,) = kept.iterdir()
    if changed == "label":
        write_image(folder / "labelsTr" / "case_0.nii.gz", make_case(0)[1][::-1], (1.0, 1.5, 2.0))
    elif changed == "description":
        write_description(folder, 1, labels={"background": 0, "organ": 1, "cyst": 2})
    elif changed == "damaged":
        file.write_bytes(file.read_bytes()[:-9])
    dataset = load_dataset(folder)

    def refuse(case: Case, *rest: Any) -> Any:
        raise AssertionError(f"{case.id} is read")

    monkeypatch.setattr(measurement, "read_training_case", refuse)
    with pytest.raises(AssertionError, match="case_0 is read"):
        measure_case(dataset.cases[0], dataset.description, None, 60 if changed == "samples" else 50, kept)


def test_a_case_with_an_error_is_not_kept(tmp_path: Path) -> None:
    folder, kept = write_dataset(tmp_path / "toy", num_cases=2), tmp_path / "kept"
    write_image(folder / "labelsTr" / "case_1.nii.gz", make_case(1)[1] * 9, (1.0, 1.5, 2.0))
    with pytest.raises(UserError, match="does not declare"):
        extract(folder, kept)
    assert len(list(kept.iterdir())) == 1


def test_findings_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "toy", num_cases=3)
    image, label = make_case(0)
    write_image(folder / "imagesTr" / "case_1_0000.nii.gz", image * 0 + 5, (1.0, 1.5, 2.0))
    write_image(folder / "labelsTr" / "case_2.nii.gz", label * 0, (1.0, 1.5, 2.0))
    found = extract(folder, tmp_path / "kept").findings_by_case
    assert found["case_0"].classes == ("organ", "tumour")
    assert found["case_0"].constant == ()
    assert found["case_1"].constant == (0,)
    assert found["case_2"].classes == ()


def test_a_fingerprint_of_an_earlier_version_is_measured_anew(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "toy", num_cases=2)
    whole = extract_fingerprint(load_dataset(folder), quiet=True, num_samples=300)
    old = whole.model_copy(update={"findings": ()})
    assert old.findings_by_case == {}
    again = extract_fingerprint(load_dataset(folder), quiet=True, num_samples=300, earlier=old)
    assert again == whole
