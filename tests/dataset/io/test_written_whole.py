"""Label maps are read again before they appear: a full disk, or a limit on the size of files, leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.format import Format
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import read_label, write_label
from umseg.dataset.io.registry import FORMATS, label_endings

VOLUME = Geometry((30, 20, 10), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
PICTURE = Geometry((60, 50), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), unit=None)
ENDINGS = [".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".png", ".bmp", ".tif", ".tiff"]
NAMES = [
    "x.nii",
    "x.nii.gz",
    "x.mha",
    "x.hdr",
    "1.2.840.5",
    "a, b",
    "100%",
    "%03d",
    "x#1",
    "p (2)",
    "-dash",
    " x",
    "LISTED",
]
NAMES += ["Müller_ß", "日本", "'", "name\nof two lines", "label", "日" * 70]


def grid(ending: str) -> Geometry:
    return PICTURE if ending in (".png", ".bmp") else VOLUME


def noise(geometry: Geometry) -> NDArray[np.uint8]:
    """Labels that compress badly, so that every file is longer than a limit of some hundred bytes."""
    return np.random.default_rng(0).integers(0, 250, geometry.shape).astype(np.uint8)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as a full disk or a quota does."""
    if sys.platform == "win32":
        pytest.skip("limits of POSIX")
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_every_format_of_label_maps_is_tried() -> None:
    assert set(label_endings()) == set(ENDINGS)


@pytest.mark.parametrize("size", [0, 400, 2000])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_limit_on_the_size_of_files(tmp_path: Path, ending: str, size: int) -> None:
    path, geometry = tmp_path / f"a{ending}", grid(ending)
    with pytest.raises(UserError, match="written") as raised, largest_file(size):
        write_label(path, noise(geometry), geometry)
    assert raised.value.file == str(path)
    assert raised.value.remedy
    assert list(tmp_path.iterdir()) == []
    write_label(path, noise(geometry), geometry)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(UserError, match="written"), largest_file(size):
        write_label(path, noise(geometry) + 1, geometry)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_a_library_wrote_wrongly_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = FORMATS["nifti"]
    original = entry.write_label

    def wrong(path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        original(path, values + 1, geometry)

    monkeypatch.setattr(entry, "write_label", wrong)
    with pytest.raises(UserError, match="not written completely") as raised:
        write_label(tmp_path / "a.nii.gz", noise(VOLUME), VOLUME)
    assert "other values" in str(raised.value.found)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", ENDINGS)
def test_names_of_every_kind(tmp_path: Path, ending: str, name: str) -> None:
    path, geometry = tmp_path / f"{name}{ending}", grid(ending)
    other = tmp_path / f"label{ending}"
    write_label(other, noise(geometry), geometry)
    write_label(path, noise(geometry) // 2, geometry)
    np.testing.assert_array_equal(read_label(path).array, noise(geometry) // 2)
    assert path.is_file()
    assert (path == other) or np.array_equal(read_label(other).array, noise(geometry))
    kept = {file for header in (path, other) for file in _files(header)}
    assert set(tmp_path.iterdir()) == kept


@pytest.mark.parametrize("highest", [1, 300, 70_000, 2**33])
@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending not in (".png", ".bmp")])
def test_endings_in_capitals_and_large_values(tmp_path: Path, ending: str, highest: int) -> None:
    path, values = tmp_path / f"a{ending.upper()}", noise(grid(ending)).astype(np.int64)
    values[0, 0, 0] = highest
    write_label(path, values, grid(ending))
    np.testing.assert_array_equal(read_label(path).array, values)
    assert set(tmp_path.iterdir()) == set(_files(path))


@pytest.mark.parametrize("ending", [".PNG", ".Bmp"])
def test_pictures_with_endings_in_capitals(tmp_path: Path, ending: str) -> None:
    write_label(tmp_path / f"a{ending}", noise(PICTURE), PICTURE)
    np.testing.assert_array_equal(read_label(tmp_path / f"a{ending}").array, noise(PICTURE))


def _files(path: Path) -> list[Path]:
    entry: Format = next(entry for entry in FORMATS.values() if entry.ending_of(path))
    return entry.files(path)


def test_two_names_that_mean_something_in_a_header_keep_their_own_voxels(tmp_path: Path) -> None:
    for number, name in enumerate(["100%", "100_", "100%%"]):
        write_label(tmp_path / f"{name}.mhd", np.full_like(noise(VOLUME), number), VOLUME)
    assert [read_label(tmp_path / f"{name}.mhd").array.max() for name in ("100%", "100_", "100%%")] == [0, 1, 2]


def test_new_label_maps_have_the_permissions_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    for ending in (".nii.gz", ".nhdr"):
        write_label(tmp_path / f"a{ending}", noise(VOLUME), VOLUME)
    modes = {file.stat().st_mode for file in tmp_path.iterdir()}
    assert len(modes) == 1
