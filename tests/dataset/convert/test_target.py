from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.builder import names_in, write_dataset, write_image
from umseg.common.errors import UserError
from umseg.dataset.convert.target import copy_file, new_folder, require_free, summary, write_description
from umseg.dataset.description import load_description


def test_folder_appears_at_the_end(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "made") as folder:
        (folder / "a").write_text("x")
        assert not (tmp_path / "deep" / "made").exists()
    assert (tmp_path / "deep" / "made" / "a").read_text() == "x"
    assert names_in(tmp_path / "deep") == ["made"]


def test_nothing_stays_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "made") as folder:
        shutil.copytree(tmp_path / "missing", folder / "a" / "b")
    assert names_in(tmp_path) == []


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with new_folder(tmp_path / "made") as folder:
        (folder / "a").touch()
    assert names_in(tmp_path / "made") == ["a"]


def test_link_to_an_empty_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "made").symlink_to("real")
    with new_folder(tmp_path / "made") as folder:
        (folder / "a").touch()
    assert (tmp_path / "made").is_symlink()
    assert names_in(tmp_path / "real") == ["a"]


def test_destination_in_use(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    with pytest.raises(UserError, match="in use") as error:
        require_free(tmp_path)
    assert error.value.found == "1 entries, e.g. b"
    with pytest.raises(UserError, match="a file"), new_folder(tmp_path / "b"):
        pass
    assert names_in(tmp_path) == ["b"]


def test_destination_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    with pytest.raises(UserError, match="cannot be created"), new_folder(tmp_path / "b" / "made"):
        pass


def test_copy_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    copy_file(tmp_path / "a", tmp_path / "new" / "b")
    (tmp_path / "a").write_bytes(b"3")
    assert (tmp_path / "new" / "b").read_bytes() == b"12"


def test_description_can_be_loaded(tmp_path: Path) -> None:
    write_description(tmp_path, ["CT", "PET"], {"background": 0, "Lésion": 1}, 7, ".nii.gz", licence="CC0")
    description = load_description(tmp_path / "dataset.json")
    assert description.channel_names == {"0": "CT", "1": "PET"}
    assert description.labels == {"background": 0, "Lésion": 1}
    assert (description.numTraining, description.file_ending) == (7, ".nii.gz")


def test_summary_counts_what_is_there(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "toy", channel_names={"0": "CT", "1": "PET"})
    assert summary(folder) == f"3 training cases of 2 channels (CT, PET) in {folder}"
    for channel in range(2):
        write_image(folder / "imagesTs" / f"new_{channel:04d}.nii.gz", np.zeros((2, 2, 2), np.int16))
    assert summary(folder).startswith("3 training cases and 1 test case of 2 channels")
