"""The size of a voxel is checked in one place, whatever the format."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.builder import write_image
from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import count_components, read_geometry, read_image, read_label
from umseg.dataset.io.registry import FORMATS
from umseg.dataset.io.soundness import sound_geometry

PATH = Path("a.nii.gz")
GRID = Geometry((6, 5, 4), (1.0, 2.0, 3.0), (7.0, 8.0, 9.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
FLAT = Geometry((6, 5), (1.0, 2.0), (0.0, 0.0), (1.0, 0, 0, 1.0))
NONE = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-8, 1e6, -1e30]


def test_a_sound_grid_is_returned_itself() -> None:
    for grid in (GRID, FLAT):
        assert sound_geometry(PATH, grid) == (grid, ())


def test_negative_sizes_become_positive_with_a_notice() -> None:
    grid, (notice,) = sound_geometry(PATH, replace(GRID, spacing=(-1.0, 2.0, -3.0)))
    assert grid == GRID
    assert notice.file == PATH
    assert notice.found == "-1, 2, -3 mm"


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", NONE)
def test_other_sizes_are_refused(size: float, axis: int) -> None:
    spacing = [1.0, 2.0, 3.0]
    spacing[axis] = size
    with pytest.raises(UserError, match="size of a voxel is not usable") as raised:
        sound_geometry(PATH, replace(GRID, spacing=tuple(spacing)))
    assert f"{size:g}" in str(raised.value.found)


@pytest.mark.parametrize("size", NONE)
def test_the_thickness_of_a_single_slice_may_be_missing(size: float) -> None:
    grid, (notice,) = sound_geometry(PATH, replace(GRID, size=(6, 5, 1), spacing=(1.0, 2.0, size)))
    assert grid.spacing == (1.0, 2.0, 1.0)
    assert "slice" in notice.problem


@pytest.mark.parametrize("size", NONE)
def test_a_picture_needs_no_size(size: float) -> None:
    grid = replace(FLAT, spacing=(size, 1.0), unit=None)
    assert sound_geometry(PATH, grid) == (replace(grid, spacing=(1.0, 1.0)), ())
    with pytest.raises(UserError, match="size of a voxel"):
        sound_geometry(PATH, replace(grid, unit="mm"))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_grid_without_voxels_is_refused(axis: int) -> None:
    size = [6, 5, 4]
    size[axis] = 0
    with pytest.raises(UserError, match="no voxels"):
        sound_geometry(PATH, replace(GRID, size=tuple(size)))


@pytest.mark.parametrize(
    "grid",
    [
        replace(GRID, origin=(0.0, np.nan, 0.0)),
        replace(GRID, direction=(1.0, 0, 0, 0, np.nan, 0, 0, 0, 1.0)),
        replace(GRID, direction=(1.0, 1.0, 0, 0, 0, 0, 0, 0, 1.0)),
    ],
)
def test_a_grid_that_has_no_place_is_refused(grid: Geometry) -> None:
    with pytest.raises(UserError, match="does not place the image"):
        sound_geometry(PATH, grid)


@pytest.mark.parametrize("size", ["0", "nan", "-2"])
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_text_headers(tmp_path: Path, ending: str, size: str) -> None:
    path = write_image(tmp_path / f"a{ending}", np.ones((4, 5, 6), np.uint8), (1.0, 1.0, 2.0))
    old, new = {
        ".mha": (b"ElementSpacing = 1 1 2", f"ElementSpacing = 1 1 {size}"),
        ".nrrd": (b"(0,0,2)", f"(0,0,{size})"),
    }[ending]
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new.encode()))
    readers: list[Callable[[Path], Geometry]] = [
        lambda path: read_image([path]).geometry,
        lambda path: read_label(path).geometry,
        read_geometry,
    ]
    for read in readers:
        if size == "-2":
            assert read(path).spacing == (1.0, 1.0, 2.0)
        else:
            with pytest.raises(UserError):
                read(path)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes among files")
@pytest.mark.parametrize("ending", ["", *sorted(ending for entry in FORMATS.values() for ending in entry.endings)])
def test_a_pipe_or_a_device_is_not_opened(tmp_path: Path, ending: str) -> None:
    pipe, device, plug = (tmp_path / f"{name}{ending}" for name in ("pipe", "device", "plug"))
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.bind(str(plug))
        for path in (pipe, device, plug):
            for read in (lambda path: read_image([path]), read_label, read_geometry, count_components):
                with pytest.raises(UserError) as raised:
                    read(path)
                assert raised.value.file == str(path)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes among files")
@pytest.mark.parametrize("name", ["slice.dcm", "slice"])
def test_a_pipe_among_dicom_slices_is_not_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError):
        read_image([tmp_path])
