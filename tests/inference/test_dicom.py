"""Predictions from DICOM lie on the grid of the slices and contain no patient's name."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.dataset.builder import write_image
from tests.dataset.dicom_builder import PATIENT, write_series
from tests.inference.models import COLOUR_FILES, write_model
from umseg.cli.app import app
from umseg.dataset.io.images import read_image, read_label

VALUES = np.random.default_rng(0).integers(-5, 5, (9, 10, 11)).astype(np.int16)
AXES = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("file_ending", [".nii.gz", ".mha", ".dcm"])
def test_label_maps_are_nifti_on_the_grid_of_the_slices(
    tmp_path: Path, file_ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_model(tmp_path / "model", file_ending=file_ending)
    for name in ("a", "b"):
        write_series(tmp_path / "in" / name, VALUES, axes=AXES)
    with caplog.at_level(logging.DEBUG):
        result = CliRunner().invoke(
            app,
            ["predict", "--model", str(model), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")],
        )
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a.nii.gz", "b.nii.gz", "dataset.json", *COLOUR_FILES, "predictions.jsonl")
    ]
    label, image = read_label(tmp_path / "out" / "a.nii.gz"), read_image([tmp_path / "in" / "a"])
    assert label.array.shape == VALUES.shape
    assert label.geometry.spacing == pytest.approx(image.geometry.spacing)
    assert label.geometry.origin == pytest.approx(image.geometry.origin)
    assert label.geometry.direction == pytest.approx(image.geometry.direction)

    written = [path.read_bytes() for path in (tmp_path / "out").iterdir()]
    unpacked = [gzip.decompress(content) for content in written if content[:2] == b"\x1f\x8b"]
    everything = b"".join([*written, *unpacked, caplog.text.encode(), result.output.encode()])
    assert not any(part.encode() in everything for name in PATIENT for part in name.split("^"))


def test_the_same_voxels_give_the_same_labels(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    write_series(tmp_path / "dicom" / "a", VALUES)
    write_image(tmp_path / "nifti" / "a.nii.gz", VALUES, (0.5, 0.75, 2.0), (10.0, -20.0, 30.0))
    for kind in ("dicom", "nifti"):
        result = CliRunner().invoke(
            app,
            ["predict", "--model", str(model), "--input", str(tmp_path / kind), "--output", str(tmp_path / kind[:1])],
        )
        assert result.exit_code == 0, result.output
    first, second = read_label(tmp_path / "d" / "a.nii.gz"), read_label(tmp_path / "n" / "a.nii.gz")
    np.testing.assert_array_equal(first.array, second.array)


def test_uneven_slices_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = write_model(tmp_path / "model")
    heights = [0, 2, 4, 6.6, 8, 10, 12, 14, 16]
    write_series(tmp_path / "a", VALUES, positions=[(0, 0, height) for height in heights])
    result = CliRunner().invoke(
        app,
        ["predict", "--model", str(model), "--input", str(tmp_path / "a"), "--output", str(tmp_path / "out")],
    )
    assert result.exit_code == 0, result.output
    assert (caplog.text + result.output).count("not evenly spaced") == 1
