"""An import makes a whole model folder or none, and replaces only what was imported before."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from tests.inference.bundle.hub_server import Hub, Repository
from tests.inference.bundle.zips import CARD, members_of, write_bundle
from umseg.common.errors import UserError
from umseg.common.files import atomic_folder
from umseg.inference import Predictor
from umseg.inference.bundle.archive import Archive
from umseg.workflows.bundle.imported import import_bundle


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_model_folder_holds_the_files_of_the_bundle(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    imported = import_bundle(small)
    assert imported.folder == tmp_path / "umseg-models" / "small"
    assert content(imported.folder) == members_of(small)
    assert [path.name for path in tmp_path.iterdir()] == ["umseg-models"]
    assert Predictor(imported.folder, "cpu").card.dataset.num_classes == 3


def test_an_earlier_model_is_replaced_on_request_only(small: Path, tmp_path: Path) -> None:
    folder = import_bundle(small, tmp_path / "models" / "liver").folder
    (folder / "fold_0" / "mine.txt").write_text("a note")
    with pytest.raises(UserError, match="there already"):
        import_bundle(small, folder)
    assert (folder / "fold_0" / "mine.txt").exists()
    import_bundle(small, folder, overwrite=True)
    assert content(folder) == members_of(small)
    assert [path.name for path in folder.parent.iterdir()] == ["liver"]


def test_an_earlier_model_stays_if_the_new_one_is_damaged(small: Path, tmp_path: Path) -> None:
    folder = import_bundle(small, tmp_path / "models" / "liver").folder
    (tmp_path / "cut.umseg").write_bytes(small.read_bytes().replace(b'"decoder.', b'"decoded.'))
    with pytest.raises(UserError, match="damaged"):
        import_bundle(tmp_path / "cut.umseg", folder, overwrite=True)
    assert content(folder) == members_of(small)
    assert [path.name for path in folder.parent.iterdir()] == ["liver"]


def test_an_earlier_model_comes_back_if_the_new_one_cannot_have_its_name(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = import_bundle(small, tmp_path / "models" / "liver").folder
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if (path / CARD).exists() and target == folder and not folder.exists() and not failed:
            failed.append(path)
            raise OSError(5, "Input/output error")
        return rename(path, target)

    failed: list[Path] = []
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(UserError, match="cannot be written"):
        import_bundle(small, folder, overwrite=True)
    assert failed
    assert content(folder) == members_of(small)
    assert [path.name for path in folder.parent.iterdir()] == ["liver"]


@pytest.mark.parametrize("kind", ["folder", "file", "trained"])
def test_what_is_no_imported_model_is_never_replaced(small: Path, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("mine")
    elif kind == "folder":
        place.mkdir()
        (place / "mine.txt").write_text("mine")
    else:
        place = small.parent / "nnunet__small"
    with pytest.raises(UserError, match="no imported model"):
        import_bundle(small, place, overwrite=True)


def test_an_empty_folder_may_be_filled(small: Path, tmp_path: Path) -> None:
    (tmp_path / "liver").mkdir()
    assert content(import_bundle(small, tmp_path / "liver").folder) == members_of(small)


def test_two_imports_into_one_folder_give_one_model(small: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", folds=("1",))

    def attempt(file: Path) -> str:
        try:
            import_bundle(file, tmp_path / "models" / "liver")
        except UserError as error:
            return error.problem
        return "imported"

    with ThreadPoolExecutor(2) as threads:
        outcomes = sorted(threads.map(attempt, [small, other]))
    assert outcomes[0] == "imported"
    assert "there already" in outcomes[1]
    assert content(tmp_path / "models" / "liver") in (members_of(small), members_of(other))
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["liver"]


def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def work() -> None:
        with atomic_folder(tmp_path / "new") as folder:
            (folder / "file").write_text("new")
            (tmp_path / "new").mkdir()
            (tmp_path / "new" / "file").write_text("other")

    with pytest.raises(UserError, match="there already"):
        work()
    assert content(tmp_path) == {"new/file": b"other"}


def import_and_die(file: Path, folder: Path) -> None:
    """In a process of its own, which is killed when all files are written and none is checked."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    os.chdir(folder)
    with mock.patch("umseg.inference.bundle.usable.check_usable", die):
        import_bundle(file)


def test_a_killed_import_leaves_no_model_and_is_cleared_up(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = multiprocessing.get_context("spawn").Process(target=import_and_die, args=(small, tmp_path))
    process.start()
    process.join()
    assert process.exitcode != 0
    models = tmp_path / "umseg-models"
    assert list(models.glob(".tmp-*/fold_0/*.safetensors"))
    assert not list(models.glob("[!.]*"))
    monkeypatch.chdir(tmp_path)
    assert content(import_bundle(small).folder) == members_of(small)
    assert [path.name for path in models.iterdir()] == ["small"]


def test_a_full_disk_leaves_nothing(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(archive: Archive, name: str) -> Iterator[bytes]:
        if name != "bundle.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return chunks(archive, name)

    chunks = Archive.chunks
    monkeypatch.setattr(Archive, "chunks", fail)
    with pytest.raises(UserError, match="disk is full"):
        import_bundle(small, tmp_path / "models" / "liver")
    assert not list(tmp_path.iterdir())


def test_a_model_of_the_hub(hub: Hub, small: Path, tmp_path: Path) -> None:
    hub.repositories["clinic/liver"] = Repository({"model.umseg": small.read_bytes()})
    assert content(import_bundle("hf://clinic/liver", tmp_path / "liver").folder) == members_of(small)
