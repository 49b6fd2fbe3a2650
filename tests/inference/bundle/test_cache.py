"""Unpacked bundles: once for all processes, within a limit, never one that is in use, and never half of one."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from filelock import FileLock

from tests.inference.bundle.zips import write_bundle
from tests.inference.models import make_image
from umseg.common.errors import UserError
from umseg.common.files import FILE_MODE
from umseg.inference import Predictor
from umseg.inference.bundle import cache as module
from umseg.inference.bundle.cache import unpacked
from umseg.inference.bundle.location import local_model
from umseg.inference.bundle.unpack import open_bundle

WEIGHTS = "fold_0/weights_final.safetensors"


def unpack_elsewhere(file: Path, root: Path) -> str:
    """In a process of its own."""
    with mock.patch.object(module, "cache_folder", return_value=root):
        return str(unpacked(file))


def test_a_bundle_predicts_as_its_model_folder_does(small: Path, cache: Path) -> None:
    image, spacing = make_image()[None], (1.0, 1.0, 1.0)
    expected = Predictor(small.parent / "nnunet__small", "cpu", precision="fp32").predict(image, spacing)
    found = Predictor(str(small), "cpu", precision="fp32").predict(image, spacing)
    np.testing.assert_array_equal(found, expected)


def test_a_bundle_is_unpacked_once(small: Path, cache: Path) -> None:
    folder = unpacked(small)
    assert folder.name == "small"
    stamp = (folder / WEIGHTS).stat().st_mtime_ns
    assert unpacked(small) == folder
    assert (folder / WEIGHTS).stat().st_mtime_ns == stamp
    assert [path.name for path in cache.glob("*")] == [folder.parent.name]


def test_a_model_folder_stays_where_it_is(small: Path, cache: Path) -> None:
    assert local_model(small.parent / "nnunet__small") == small.parent / "nnunet__small"
    assert not cache.exists()


def test_a_missing_bundle_is_named(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=r"none\.umseg does not exist"):
        local_model(tmp_path / "none.umseg")


def test_threads_and_processes_share_one(small: Path, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(4) as threads, ProcessPoolExecutor(1, context) as processes:
        elsewhere = processes.submit(unpack_elsewhere, small, cache.parent)
        here = [threads.submit(unpacked, small) for _ in range(4)]
        found = {elsewhere.result(), *(str(task.result()) for task in here)}
    assert len(found) == 1
    assert len(list(cache.glob("[!.]*"))) == 1


def test_an_entry_that_lacks_a_file_is_unpacked_again(small: Path, cache: Path) -> None:
    folder = unpacked(small)
    (folder / WEIGHTS).unlink()
    assert (unpacked(small) / WEIGHTS).exists()


def test_what_a_killed_process_left_is_removed(small: Path, cache: Path) -> None:
    (cache / ".tmp-12345678" / "half").mkdir(parents=True)
    unpacked(small)
    assert not list(cache.glob(".tmp-*"))


class TestLimit:
    @pytest.fixture(autouse=True)
    def limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MOST_BYTES", 15_000)  # a bundle has 12,000

    @pytest.fixture
    def other(self, tmp_path: Path) -> Path:
        return write_bundle(tmp_path / "other", folds=("1",))

    def entry(self, cache: Path, name: str) -> Path:
        """An entry that another process has left."""
        folder = cache / name
        (folder / "users").mkdir(parents=True)
        (folder / "users" / "ended").touch()
        (folder / "content").write_bytes(bytes(10_000))
        return folder

    def test_what_was_used_longest_ago_goes_first(self, small: Path, cache: Path) -> None:
        old, older = self.entry(cache, "old"), self.entry(cache, "older")
        (old / "content").write_bytes(bytes(1000))
        os.utime(older, (1, 1))
        folder = unpacked(small)
        assert folder.is_dir()
        assert old.is_dir()
        assert not older.exists()

    def test_what_another_process_uses_stays(self, small: Path, cache: Path) -> None:
        used = self.entry(cache, "used")
        with FileLock(used / "users" / "running", mode=FILE_MODE):
            unpacked(small)
        assert used.is_dir()
        assert not (used / "users" / "ended").exists()

    def test_what_this_process_uses_stays(self, small: Path, other: Path, cache: Path) -> None:
        first, second = unpacked(small), unpacked(other)
        assert first.is_dir()
        assert second.is_dir()


def _no_home() -> Path:
    raise RuntimeError("no home")


@pytest.mark.parametrize("broken", [_no_home, lambda: Path(os.devnull) / "cache"])
def test_without_a_cache_folder_a_temporary_one_serves(
    small: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: Callable[[], Path]
) -> None:
    monkeypatch.setattr(module, "cache_folder", broken)
    monkeypatch.setattr(module, "_temporary", {})
    with caplog.at_level(logging.WARNING):
        folder = unpacked(small)
    assert (folder / WEIGHTS).exists()
    assert unpacked(small) == folder
    assert caplog.text.count("for this process alone") == 1


def test_a_full_disk_is_noticed_before_anything_is_written(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("umseg.inference.bundle.unpack.shutil.disk_usage", lambda path: usage)
    (tmp_path / "folder").mkdir()
    with open_bundle(small) as bundle, pytest.raises(UserError, match="does not fit on the disk"):
        bundle.unpack(tmp_path / "folder")
    assert not list((tmp_path / "folder").iterdir())
