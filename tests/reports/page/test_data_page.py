"""``data.html``: odd cases first, each with its reasons; written by every plan."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from tests.blobs import write_blobs
from tests.reports.page.builder import Elements, outside
from umseg.dataset.dataset import Dataset, load_dataset
from umseg.dataset.io.images import read_image, read_label, write_label
from umseg.planning import Fingerprint
from umseg.planning.fingerprint import extract_fingerprint
from umseg.planning.oddities import find_oddities
from umseg.planning.sights import CaseSight
from umseg.workflows import plan as module
from umseg.workflows.plan import plan_dataset


def save_image(file: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(sitk.ReadImage(str(file)))
    sitk.WriteImage(image, str(file))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight cases: one brighter, one a copy, one with its classes exchanged, one without foreground."""
    folder = write_blobs(tmp_path_factory.mktemp("data") / "Dataset905_Odd", num_cases=8)
    images, labels = folder / "imagesTr", folder / "labelsTr"
    bright = images / "blob_1_0000.nii.gz"
    save_image(bright, 1000 * read_image([bright]).array[0])
    (images / "blob_2_0000.nii.gz").write_bytes((images / "blob_0_0000.nii.gz").read_bytes())
    for number, change in ((3, lambda array: np.where(array > 0, 3 - array, 0)), (4, np.zeros_like)):
        file = labels / f"blob_{number}.nii.gz"
        label = read_label(file)
        write_label(file, change(label.array), label.geometry)
    return folder


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "extract_fingerprint", partial(extract_fingerprint, num_samples=10_000))


def planned(dataset: Path, root: Path) -> Path:
    workspace, _, _ = plan_dataset(dataset, root, configurations=["2d"], quiet=True)
    return workspace.data_page


def reasons(dataset: Path) -> dict[str, list[str]]:
    sights: list[CaseSight] = []

    def see(seen: Iterable[CaseSight]) -> None:
        sights.extend(seen)

    loaded: Dataset = load_dataset(dataset)
    fingerprint: Fingerprint = extract_fingerprint(loaded, num_samples=10_000, quiet=True, see=see)
    odd = find_oddities(fingerprint, sights, loaded.description)
    return {case: [reason.text for reason in why] for case, why in odd.reasons.items()}


def test_every_kind_of_odd_case_is_found_and_what_is_certain_comes_first(dataset: Path) -> None:
    found = reasons(dataset)
    assert next(iter(found)) == "blob_4"
    assert "No foreground at all" in found["blob_4"]
    assert any(text.startswith("Median intensity of MRI") for text in found["blob_1"])
    assert "Its image looks like that of blob_2" in found["blob_0"]
    assert "Its image looks like that of blob_0" in found["blob_2"]
    assert "left blob and right blob lie the other way round along y than in most cases" in found["blob_3"]
    assert "blob_6" not in found


def test_a_plan_writes_the_page_with_odd_cases_first(dataset: Path, tmp_path: Path) -> None:
    text = planned(dataset, tmp_path).read_text(encoding="utf-8")
    page = Elements(text)
    assert page.of("article")[0]["data-case"] == "blob_4"
    assert next(have["data-case"] for have in page.of("tr") if "data-case" in have) == "blob_4"
    assert "Images that look alike, perhaps mirrored: blob_0 and blob_2." in page.text
    assert "left blob and right blob (along y)" in page.text
    assert not outside(page)


def test_the_same_data_make_the_same_page(dataset: Path, tmp_path: Path) -> None:
    first, second = planned(dataset, tmp_path / "a"), planned(dataset, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_a_page_that_is_there_is_not_made_again_and_a_missing_one_is(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = planned(dataset, tmp_path)
    text = page.read_bytes()
    page.unlink()
    assert planned(dataset, tmp_path).read_bytes() == text
    monkeypatch.setattr("umseg.planning.fingerprint.measure_case", None)
    assert planned(dataset, tmp_path).read_bytes() == text
