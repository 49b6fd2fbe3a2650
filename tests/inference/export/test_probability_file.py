"""Files with probabilities, and where their voxels lie."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from tests.inference.export.whole import restore_probabilities, slabs_of
from tests.preprocess.cases import make_configuration, make_image, make_plan
from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.orientation import Turn
from umseg.inference.export import probability_file
from umseg.inference.export.frame import Frame
from umseg.inference.export.grid import OutputGrid
from umseg.inference.export.probabilities import ProbabilityChunk, probability_chunks
from umseg.inference.export.probability_file import KEY, file_bytes, write_probabilities
from umseg.inference.outputs.probability_choice import ENDINGS
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess import preprocess_case
from umseg.preprocess.case import CaseProperties

OUTPUTS = 3
SHAPE = (12, 14, 16)
OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
TURNS = [Turn(), Turn.between("PIR", "LPS")]


@dataclass(frozen=True)
class Predicted:
    """The logits of an image that is turned, transposed, cropped and resampled."""

    logits: NDArray[np.float32]
    properties: CaseProperties
    plan: Plan
    configuration: Configuration
    turn: Turn
    geometry: Geometry

    @classmethod
    def make(cls, turn: Turn = TURNS[1], margin: int = 2) -> Predicted:
        geometry = Geometry(SHAPE[::-1], (1.1, 0.9, 1.0), (5.0, -3.0, 2.0), OBLIQUE)
        configuration = make_configuration((1.3, 1.0, 0.8))
        plan = make_plan((2, 0, 1), any=configuration)
        z, y, x = turn.geometry(geometry).spacing[::-1]
        image = turn.array(make_image(SHAPE, margin=margin))
        properties = preprocess_case(image, (z, y, x), plan, configuration).properties
        shape = (OUTPUTS, *properties.shape_after_resampling)
        logits = np.random.default_rng(0).normal(0, 3, size=shape).astype(np.float32)
        return cls(logits, properties, plan, configuration, turn, geometry)

    @property
    def frame(self) -> Frame:
        return Frame.of_image(self.properties, self.plan, self.turn, self.geometry)

    @property
    def network_frame(self) -> Frame:
        return Frame.of_network(self.properties, self.plan, self.turn, self.geometry)

    def chunks(self, regions: bool = False, *, same: bool = False) -> Iterator[ProbabilityChunk]:
        grid = OutputGrid.of(self.properties, self.configuration)
        grid = OutputGrid.same(self.logits.shape[1:]) if same else grid
        return probability_chunks(slabs_of(self.logits), grid, regions=regions, planes=2)

    def expected(self, regions: bool = False) -> NDArray[np.float32]:
        turned = restore_probabilities(self.logits, self.properties, self.plan, self.configuration, regions=regions)
        return self.turn.inverse.array(turned)


def read(path: Path) -> NDArray[Any]:
    """(outputs, z, y, x)"""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            assert archive.files == [KEY]
            values: NDArray[Any] = archive[KEY]
            return values
    image: Any = nibabel.load(path)
    stored: NDArray[Any] = image.get_fdata().T
    return stored


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_probabilities_on_the_grid_of_the_image(tmp_path: Path, ending: str, regions: bool, turn: Turn) -> None:
    predicted = Predicted.make(turn)
    path = tmp_path / f"case{ending}"
    write_probabilities(path, predicted.chunks(regions), predicted.frame, OUTPUTS, regions=regions)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert not predicted.frame.is_full
    values = read(path)
    assert values.shape == (OUTPUTS, *SHAPE)
    atol = 3e-4 if ending == ".npz" else 1e-5
    np.testing.assert_allclose(values, predicted.expected(regions), rtol=0, atol=atol)
    if ending == ".npz":
        assert values.dtype == np.float16
    if ending != ".nii.gz":
        assert path.stat().st_size == file_bytes(path, OUTPUTS, predicted.frame)


def test_other_programs_read_the_archive(tmp_path: Path) -> None:
    predicted = Predicted.make()
    path = tmp_path / "case.npz"
    write_probabilities(path, predicted.chunks(), predicted.frame, OUTPUTS, regions=False)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        (entry,) = archive.infolist()
        assert entry.filename == f"{KEY}.npy"
        assert entry.compress_type == zipfile.ZIP_STORED
    content = path.read_bytes()
    write_probabilities(path, predicted.chunks(), predicted.frame, OUTPUTS, regions=False)
    assert path.read_bytes() == content, "the same probabilities give the same file"


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_file_lies_where_the_image_does(tmp_path: Path, ending: str) -> None:
    predicted = Predicted.make()
    path = tmp_path / f"case{ending}"
    write_probabilities(path, predicted.chunks(), predicted.frame, OUTPUTS, regions=False)
    image = sitk.ReadImage(str(path))
    assert image.GetSize() == (*SHAPE[::-1], OUTPUTS)
    np.testing.assert_allclose(image.GetSpacing()[:3], predicted.geometry.spacing, rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin()[:3], predicted.geometry.origin, rtol=1e-6)
    direction = np.reshape(image.GetDirection(), (4, 4))[:3, :3].ravel()
    np.testing.assert_allclose(direction, OBLIQUE, atol=1e-6)


@pytest.mark.parametrize("turn", TURNS)
def test_the_networks_grid_lies_in_the_same_place(tmp_path: Path, turn: Turn) -> None:
    """A place in space has nearly the same probability in both files, away from the border of the crop."""
    predicted = Predicted.make(turn)
    frame = predicted.network_frame
    assert sorted(frame.shape) == sorted(predicted.properties.shape_after_resampling)
    assert frame.is_full
    smooth: NDArray[np.float32] = predicted.logits.cumsum(1).cumsum(2).cumsum(3) / np.float32(40)
    predicted = replace(predicted, logits=smooth)
    paths = [tmp_path / "image.nii", tmp_path / "network.nii"]
    write_probabilities(paths[0], predicted.chunks(), predicted.frame, OUTPUTS, regions=False)
    write_probabilities(paths[1], predicted.chunks(same=True), frame, OUTPUTS, regions=False)
    on_image, on_network = (sitk.ReadImage(str(path))[..., 1] for path in paths)
    resampled = sitk.GetArrayFromImage(sitk.Resample(on_network, on_image, sitk.Transform(), sitk.sitkLinear, -1.0))
    inside = resampled >= 0
    assert inside.mean() > 0.2
    difference = np.abs(resampled - sitk.GetArrayFromImage(on_image))[inside]
    assert np.median(difference) < 0.005, "probabilities are interpolated here, logits there"


def test_an_image_without_margin_and_a_picture(tmp_path: Path) -> None:
    predicted = Predicted.make(margin=0)
    assert predicted.frame.is_full
    configuration = make_configuration((0.8, 0.8))
    plan = make_plan(any=configuration)
    image = np.random.default_rng(0).normal(10, 1, size=(1, 1, 9, 11)).astype(np.float32)
    properties = preprocess_case(image, (999.0, 1.0, 1.0), plan, configuration).properties
    geometry = Geometry((11, 9), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    logits = np.random.default_rng(0).normal(size=(2, *properties.shape_after_resampling)).astype(np.float32)
    for frame, grid in (
        (Frame.of_image(properties, plan, Turn(), geometry), OutputGrid.of(properties, configuration)),
        (Frame.of_network(properties, plan, Turn(), geometry), OutputGrid.same(logits.shape[1:])),
    ):
        path = tmp_path / "picture.npz"
        write_probabilities(path, probability_chunks(slabs_of(logits), grid, regions=False), frame, 2, regions=False)
        values = read(path)
        assert values.shape == (2, *grid.shape)
        np.testing.assert_allclose(values.sum(axis=0), 1, atol=2e-3)


def test_without_space_nothing_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predicted = Predicted.make()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))

    chunks = predicted.chunks()
    with pytest.raises(UserError, match="more disk space than there is"):
        write_probabilities(tmp_path / "case.npz", chunks, predicted.frame, OUTPUTS, regions=False)
    assert next(chunks).planes.start == 0, "no chunk has been asked for"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    predicted = Predicted.make()

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(UserError, match="disk is full"):
        write_probabilities(tmp_path / f"case{ending}", predicted.chunks(), predicted.frame, OUTPUTS, regions=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_error_on_the_way_leaves_nothing(tmp_path: Path, ending: str) -> None:
    predicted = Predicted.make()

    def chunks() -> Iterator[ProbabilityChunk]:
        yield next(predicted.chunks())
        raise RuntimeError("network")

    path = tmp_path / f"case{ending}"
    path.write_text("earlier")
    with pytest.raises(RuntimeError, match="network"):
        write_probabilities(path, chunks(), predicted.frame, OUTPUTS, regions=False)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "earlier"


def test_where_space_cannot_be_reserved_zeros_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unknown, raising=False)
    monkeypatch.setattr(probability_file, "_PIECE", 1000)
    predicted = Predicted.make()
    path = tmp_path / "case.npz"
    write_probabilities(path, predicted.chunks(True), predicted.frame, OUTPUTS, regions=True)
    np.testing.assert_allclose(read(path), predicted.expected(True), rtol=0, atol=3e-4)
