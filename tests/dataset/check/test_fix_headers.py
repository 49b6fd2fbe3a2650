from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from tests.dataset.builder import make_case, write_dataset, write_image
from umseg.dataset.check.case import check_case
from umseg.dataset.check.fix_headers import fix_geometry
from umseg.dataset.dataset import Dataset, load_dataset
from umseg.dataset.io.images import read_image, read_label

SPACING = (1.0, 1.5, 2.0)
TURNED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six cases: good, shifted, turned, wrong spacing, wrong shape, damaged."""
    folder = write_dataset(tmp_path / "toy", num_cases=6, spacing=SPACING)
    labels = [make_case(number)[1] for number in range(6)]
    place = folder / "labelsTr"
    write_image(place / "case_1.nii.gz", labels[1], SPACING, origin=(5.0, 0.0, 0.0))
    write_image(place / "case_2.nii.gz", labels[2], SPACING, direction=TURNED)
    write_image(place / "case_3.nii.gz", labels[3], (1.0, 1.0, 1.0))
    write_image(place / "case_4.nii.gz", labels[4][1:], (1.0, 1.0, 1.0))
    (place / "case_5.nii.gz").write_bytes(b"no image")
    return load_dataset(folder)


def digests(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("workers", [0, 2])
def test_only_what_differs_is_copied_under_the_header_of_its_image(
    dataset: Dataset, tmp_path: Path, workers: int
) -> None:
    before = digests(dataset.folder)
    fixed = fix_geometry(dataset, tmp_path / "fixed", workers=workers, quiet=True)
    assert digests(dataset.folder) == before
    assert sorted(path.name for path in (tmp_path / "fixed").iterdir()) == [f"case_{n}.nii.gz" for n in (1, 2, 3)]
    for number, (old, new) in enumerate(zip(dataset.cases, fixed.cases, strict=True)):
        assert (new.id, new.images) == (old.id, old.images)
        if number not in (1, 2, 3):
            assert new == old
            continue
        assert new.label == tmp_path / "fixed" / f"case_{number}.nii.gz"
        np.testing.assert_array_equal(read_label(new.label).array, make_case(number)[1])
        image, label = (sitk.ReadImage(str(path)) for path in (old.images[0], new.label))
        assert (label.GetSpacing(), label.GetOrigin()) == (image.GetSpacing(), image.GetOrigin())
        assert label.GetDirection() == image.GetDirection()
        assert check_case(new, read_image(new.images), read_label(new.label), dataset.description) == []


def test_again_there_is_nothing_to_fix(dataset: Dataset, tmp_path: Path) -> None:
    once = fix_geometry(dataset, tmp_path / "fixed", quiet=True)
    assert fix_geometry(once, tmp_path / "other", quiet=True) == once
    assert not (tmp_path / "other").exists()


def test_values_that_no_label_map_has_are_left_to_the_check(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "toy", num_cases=1, spacing=SPACING)
    write_image(folder / "labelsTr" / "case_0.nii.gz", make_case(0)[1].astype(np.int16) - 1, (1.0, 1.0, 1.0))
    dataset = load_dataset(folder)
    assert fix_geometry(dataset, tmp_path / "fixed", quiet=True) == dataset


def test_2d_label_of_a_single_slice(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "toy", num_cases=1, spacing=SPACING)
    image, label = make_case(0, (1, 10, 12))
    write_image(folder / "imagesTr" / "case_0_0000.nii.gz", image, SPACING)
    write_image(folder / "labelsTr" / "case_0.nii.gz", label[0], SPACING[:2])
    (case,) = fix_geometry(load_dataset(folder), tmp_path / "fixed", quiet=True).cases
    assert case.label is not None
    assert read_label(case.label).geometry == read_image(case.images).geometry
