"""Further outputs are written after the label map, recorded, and made alone where only they are missing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.dataset.builder import names_in, write_image
from tests.inference.models import make_image
from umseg.common.errors import UserError
from umseg.common.files import write_text
from umseg.dataset.dataset import Case
from umseg.dataset.io.images import read_label
from umseg.inference import Predictor
from umseg.inference.model import LoadedModel
from umseg.inference.outputs.case_output import CaseOutput, SegmentedCase
from umseg.inference.pipeline.failures import FailedCasesError
from umseg.inference.pipeline.files import FileRequest
from umseg.inference.pipeline.products import LabelChoice
from umseg.inference.segmenter import Segmentation

IMAGES = ("a", "b", "c")


@dataclass(frozen=True)
class Volumes:
    """Writes the number of voxels of the label map, and the mean of the image.

    Attributes:
        title: First line of the files.
        refused: Cases that cannot be written.
        broken: Cases of which writing fails.
    """

    program_bytes: ClassVar[int] = 0
    title: str = "voxels"
    refused: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def files(self, case: Case, folder: Path) -> Sequence[Path]:
        if case.id in self.refused:
            raise UserError("The case has no volume.")
        return [folder / "volumes" / f"{case.id}.txt"]

    def write(self, result: SegmentedCase, folder: Path) -> None:
        if result.case.id in self.broken:
            raise ValueError("no volume")
        (path,) = self.files(result.case, folder)
        voxels, mean = np.count_nonzero(result.label_map), result.read_image().mean()
        assert result.geometry.shape == result.label_map.shape
        write_text(path, f"{self.title} {voxels} {mean:.6f} {', '.join(result.description.labels)}\n")


@dataclass(frozen=True)
class OnlyTumours:
    """Keeps one class."""

    value: int = 2

    def apply(self, label_map: NDArray[Any]) -> NDArray[Any]:
        return np.where(label_map == self.value, label_map, 0).astype(label_map.dtype)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for seed, case in enumerate(IMAGES):
        write_image(tmp_path / "in" / f"{case}_0000.nii.gz", make_image(seed=seed))
    return tmp_path / "in"


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each case that has gone through the network."""
    calls: list[int] = []
    real = LoadedModel.segment

    def count(self: LoadedModel, *arguments: Any) -> Segmentation:
        calls.append(1)
        return real(self, *arguments)

    monkeypatch.setattr(LoadedModel, "segment", count)
    return calls


def run(
    predictor: Predictor, inputs: Path, output: Path, *outputs: CaseOutput, choice: LabelChoice | None = None
) -> tuple[int, int]:
    """The numbers of cases that were written and kept."""
    products = predictor.products(outputs, choice)
    result = predictor.segment_files(FileRequest((inputs,), output, products, quiet=True))
    assert len(result.label_maps) == len(IMAGES)
    return result.written, result.kept


def test_outputs_are_written_recorded_and_kept(
    predictor: Predictor, inputs: Path, tmp_path: Path, segmented: list[int]
) -> None:
    output = tmp_path / "out"
    assert run(predictor, inputs, output, Volumes()) == (3, 0)
    assert names_in(output / "volumes") == ["a.txt", "b.txt", "c.txt"]
    label = read_label(output / "b.nii.gz").array
    mean = make_image(seed=1).mean()
    text = (output / "volumes" / "b.txt").read_text()
    assert text == f"voxels {np.count_nonzero(label)} {mean:.6f} background, organ, tumour\n"
    assert run(predictor, inputs, output, Volumes()) == (0, 3)
    assert len(segmented) == 3


def test_what_is_missing_is_made_of_the_label_map_that_is_there(
    predictor: Predictor, inputs: Path, tmp_path: Path, segmented: list[int]
) -> None:
    output = tmp_path / "out"
    assert run(predictor, inputs, output) == (3, 0)
    stamps = [path.stat().st_mtime_ns for path in sorted(output.glob("*.nii.gz"))]
    assert run(predictor, inputs, output, Volumes()) == (3, 0)
    first = (output / "volumes" / "a.txt").read_text()
    (output / "volumes" / "a.txt").unlink()
    assert run(predictor, inputs, output, Volumes()) == (1, 2)
    assert (output / "volumes" / "a.txt").read_text() == first
    assert run(predictor, inputs, output, Volumes("other words")) == (3, 0)
    assert (output / "volumes" / "a.txt").read_text().startswith("other words")
    assert [path.stat().st_mtime_ns for path in sorted(output.glob("*.nii.gz"))] == stamps
    assert len(segmented) == 3


def test_a_file_that_was_changed_is_not_replaced(predictor: Predictor, inputs: Path, tmp_path: Path) -> None:
    run(predictor, inputs, tmp_path / "out", Volumes())
    (tmp_path / "out" / "volumes" / "b.txt").write_text("mine")
    with pytest.raises(UserError, match="umseg did not write") as caught:
        run(predictor, inputs, tmp_path / "out", Volumes())
    assert caught.value.found == "volumes/b.txt"


def test_label_maps_are_changed_before_they_are_written(predictor: Predictor, inputs: Path, tmp_path: Path) -> None:
    run(predictor, inputs, tmp_path / "all")
    assert run(predictor, inputs, tmp_path / "out", Volumes(), choice=OnlyTumours()) == (3, 0)
    everything = read_label(tmp_path / "all" / "a.nii.gz").array
    found = read_label(tmp_path / "out" / "a.nii.gz").array
    np.testing.assert_array_equal(found, np.where(everything == 2, 2, 0))
    assert (tmp_path / "out" / "volumes" / "a.txt").read_text().split()[1] == str(np.count_nonzero(found))
    assert run(predictor, inputs, tmp_path / "out", Volumes(), choice=OnlyTumours(1)) == (3, 0)


def test_a_case_that_cannot_be_written_in_a_form_is_not_segmented(
    predictor: Predictor, inputs: Path, tmp_path: Path, segmented: list[int]
) -> None:
    with pytest.raises(FailedCasesError, match="Case b was not segmented: The case has no volume"):
        run(predictor, inputs, tmp_path / "out", Volumes(refused=("b",)))
    assert names_in(tmp_path / "out" / "volumes") == ["a.txt", "c.txt"]
    assert len(segmented) == 2


def test_a_writer_that_fails_stops_no_other_case(
    predictor: Predictor, inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(FailedCasesError, match="unexpected error") as caught,
    ):
        run(predictor, inputs, tmp_path / "out", Volumes(broken=("b",)))
    assert "Case b was not segmented: An unexpected error occurred. Found ValueError: no volume." in caplog.text
    assert [path.name for path in caught.value.written] == ["a.nii.gz", "c.nii.gz"]
    # Its label map is whole, but not recorded as such: the next run makes all of the case.
    assert run(predictor, inputs, tmp_path / "out", Volumes()) == (3, 0)
    assert names_in(tmp_path / "out" / "volumes") == ["a.txt", "b.txt", "c.txt"]
    assert not (tmp_path / "out" / "failures.json").exists()


def test_the_ending_of_label_maps_can_be_chosen(predictor: Predictor, inputs: Path, tmp_path: Path) -> None:
    products = predictor.products(ending=lambda case, ending: ".nrrd")
    request = FileRequest((inputs,), tmp_path / "out", products, quiet=True)
    result = predictor.segment_files(request)
    assert [path.name for path in result.label_maps] == ["a.nrrd", "b.nrrd", "c.nrrd"]
    assert all(path.exists() for path in result.label_maps)
    assert predictor.segment_files(request).kept == 3
