from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from umseg.common.errors import UserError
from umseg.common.files import atomic_path, plain_path, remove_leftovers, write_csv, write_text


@pytest.fixture(params=[False, True], ids=["new", "existing"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file to write: either nothing is there yet, or an earlier version."""
    path = tmp_path / "case.nii.gz"
    if request.param:
        path.write_text("earlier")
    return path


def state(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def fail_half_way(path: Path, failure: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise failure


def test_writes(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists() or target.read_text() == "earlier"
    assert state(target.parent) == {"case.nii.gz": "new"}


def test_temporary_name_keeps_the_suffixes_and_the_folder(target: Path) -> None:
    with atomic_path(target) as temporary:
        assert temporary.suffixes == target.suffixes
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".")
        temporary.touch()


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_path(path) as first, atomic_path(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert state(tmp_path) == {"file": "first"}


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), UserError("no")])
def test_exception_in_the_block_leaves_no_trace(target: Path, failure: BaseException) -> None:
    before = state(target.parent)
    with pytest.raises(type(failure)) as caught:
        fail_half_way(target, failure)
    assert caught.value is failure
    assert state(target.parent) == before


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota is used up"), (errno.EACCES, "cannot be")],
)
def test_failing_disk_leaves_no_trace(
    target: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int, message: str
) -> None:
    before = state(target.parent)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(UserError, match=message) as caught:
        write_text(target, "new")
    assert caught.value.file == str(target)
    assert caught.value.remedy
    assert state(target.parent) == before


def test_full_disk_in_the_block_says_how_much_is_free(target: Path) -> None:
    before = state(target.parent)
    with pytest.raises(UserError, match="disk is full") as caught:
        fail_half_way(target, OSError(errno.ENOSPC, "No space left on device"))
    assert caught.value.found is not None
    assert caught.value.found.endswith("MiB free")
    assert state(target.parent) == before


def test_full_disk_is_explained_when_even_the_folder_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(UserError, match="disk is full"):
        write_text(tmp_path / "a" / "b" / "file", "new")


def test_makes_missing_folders(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "file.txt", "näw\n")
    assert (tmp_path / "a" / "b" / "file.txt").read_bytes().replace(b"\r\n", b"\n") == "näw\n".encode()


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(UserError, match="cannot be written") as caught:
        write_text(tmp_path / "folder" / "file", "new")
    assert caught.value.file == str(tmp_path / "folder" / "file")
    assert state(tmp_path) == {"folder": "a file"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="cannot be written") as caught:
            write_text(tmp_path / "file", "new")
    finally:
        tmp_path.chmod(0o700)
    assert "ermission" in str(caught.value.found)
    assert state(tmp_path) == {}


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_block_that_writes_nothing_does_not_erase_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("earlier")
    with pytest.raises(UserError, match="cannot be written"), atomic_path(tmp_path / "file"):
        pass
    assert state(tmp_path) == {"file": "earlier"}


def test_needed_space_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="disk is full") as caught, atomic_path(tmp_path / "file", needed=3 * 2**20):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.expected == "3.0 MiB for this file"


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / "file", tmp_path / ".hidden", tmp_path / "folder" / "file"]
    for path in kept:
        write_text(path, "content")
    with atomic_path(tmp_path / "new") as temporary:
        temporary.write_text("as far as it came")
        remove_leftovers(tmp_path)
        assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
        temporary.write_text("for the end of the block")
    remove_leftovers(tmp_path / "nowhere")


def test_syncing_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "asked to sync")

    monkeypatch.setattr(os, "fsync", fail)
    with atomic_path(tmp_path / "file", sync=False) as temporary:
        temporary.write_text("whole")
    assert state(tmp_path) == {"file": "whole"}
    with pytest.raises(UserError, match="cannot be written"), atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("other")
    assert state(tmp_path) == {"file": "whole"}


def test_a_table_is_written_with_plain_line_ends(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [("case", "score"), ("a,b", 0.5), ("ü", None)])
    assert (tmp_path / "t.csv").read_bytes() == 'case,score\n"a,b",0.5\nü,\n'.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_plain_path_has_no_dots(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert plain_path(tmp_path / "a" / ".." / "b") == (tmp_path / "b").resolve()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    # A link in a path that needs no explanation keeps its name.
    assert plain_path(tmp_path / "link" / "c") == tmp_path / "link" / "c"
    assert plain_path("x").is_absolute()
