"""Files and folders that may not be read end in an error that names them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.builder import write_dataset, write_image
from tests.dataset.dicom_builder import write_series
from umseg.common.errors import UserError
from umseg.dataset.check.digest import case_digest
from umseg.dataset.dataset import find_cases, survey_dataset
from umseg.dataset.io.images import read_image
from umseg.dataset.listing import list_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs permissions of POSIX")

VALUES = np.random.default_rng(0).integers(1, 200, (3, 6, 7)).astype(np.int16)
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder outside of pytest's own, which only their owner may enter."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    for path in made.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(made)


@pytest.fixture
def without_rights(folder: Path) -> Iterator[Callable[[Path], Path]]:
    """Takes a path's permissions away; root, whom that would not stop, becomes nobody until the test ends."""
    user = os.geteuid()

    def take(path: Path) -> Path:
        path.chmod(0)
        if user == 0:
            os.seteuid(NOBODY)
        return path

    yield take
    os.seteuid(user)


def test_hidden_files_do_not_count(folder: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (folder / name).write_text("x")
    (folder / "inner").mkdir()
    assert list_folder(folder) == ([folder / "a", folder / "b"], [folder / "inner"])


def test_a_folder_that_may_not_be_listed(folder: Path, without_rights: Callable[[Path], Path]) -> None:
    series = folder / "scan"
    write_series(series, VALUES)
    without_rights(series)
    for inputs in (series, folder):
        with pytest.raises(UserError, match="cannot be read") as raised:
            find_cases(inputs, 1, ".nii.gz")
        assert (raised.value.file, raised.value.found) == (str(series), "Permission denied")
    with pytest.raises(UserError, match="cannot be read"):
        find_cases(series / "IM0001.dcm", 1, ".nii.gz")
    with pytest.raises(UserError, match="cannot be read"):
        read_image([series])


@pytest.mark.parametrize("name", ["IM0002.dcm", "IM0002"])
def test_a_slice_that_may_not_be_read(folder: Path, without_rights: Callable[[Path], Path], name: str) -> None:
    for path in write_series(folder / "scan", VALUES):
        path.rename(path.with_suffix(Path(name).suffix))
    damaged = without_rights(folder / "scan" / name)
    with pytest.raises(UserError, match="cannot be read") as raised:
        find_cases(folder / "scan", 1, ".nii.gz")
    assert (raised.value.file, raised.value.found) == (str(damaged), "Permission denied")


def test_folders_that_are_not_needed_need_not_be_read(folder: Path, without_rights: Callable[[Path], Path]) -> None:
    write_image(folder / "a_0000.nii.gz", VALUES)
    (folder / "lost+found").mkdir()
    without_rights(folder / "lost+found")
    assert [case.id for case in find_cases(folder, 1, ".nii.gz")] == ["a"]


def test_files_of_a_data_set(folder: Path, without_rights: Callable[[Path], Path]) -> None:
    (case,) = survey_dataset(write_dataset(folder / "Dataset1", num_cases=1))[0].cases
    without_rights(case.images[0])
    for read in (lambda: read_image(case.images), lambda: case_digest(case)):
        with pytest.raises(UserError, match="cannot be read") as raised:
            read()
        assert raised.value.file == str(case.images[0])


def test_folders_of_a_data_set(folder: Path, without_rights: Callable[[Path], Path]) -> None:
    write_dataset(folder / "Dataset1", num_cases=1)
    labels = without_rights(folder / "Dataset1" / "labelsTr")
    with pytest.raises(UserError, match="cannot be read") as raised:
        survey_dataset(folder / "Dataset1")
    assert raised.value.file == str(labels)
