"""Bundles that somebody forged, cut or damaged: each ends in a clear error, and leaves nothing behind."""

from __future__ import annotations

import os
import random
import tracemalloc
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.inference.bundle import attacks_on_contents
from tests.inference.bundle.attacks_on_archives import ATTACKS, Files
from tests.inference.bundle.zips import CARD, WEIGHTS, described, members_of, packed
from umseg.cli.app import app
from umseg.common.errors import UserError
from umseg.inference.bundle.cache import unpacked

# Importing the module enters its attacks.
assert attacks_on_contents.__name__


@pytest.fixture(scope="session")
def files(small: Path) -> Files:
    return members_of(small)


def everything(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def test_the_archive_itself_is_read(files: Files, tmp_path: Path, cache: Path) -> None:
    """Attacks on an archive that is refused anyway would show nothing."""
    path = tmp_path / "forged.umseg"
    path.write_bytes(packed(described(files)))
    assert (unpacked(path) / CARD).read_bytes() == files[CARD]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_leaves_nothing(
    name: str, files: Files, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, expected = ATTACKS[name]
    work = tmp_path / "work"
    work.mkdir()
    path = work / "forged.umseg"
    path.write_bytes(make(files))
    before = everything(tmp_path)
    monkeypatch.chdir(work)
    imported = CliRunner().invoke(app, ["import", "forged.umseg", "--output", str(work / "models" / "small")])
    assert imported.exit_code == 2, imported.output
    assert imported.output.startswith("error: ")
    assert expected in imported.output
    assert everything(tmp_path) == before
    if "scores" not in name:  # prediction does not read them
        with pytest.raises(UserError):
            unpacked(path)
    assert not list(cache.glob("*/*"))


def test_bombs_are_refused_before_they_are_unpacked(files: Files, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "forged.umseg"
    for name in ("a card of 1 GB", "a manifest of 1 GB", "many large scores", "70,000 files", "a list of 2^40 bytes"):
        path.write_bytes(ATTACKS[name][0](files))
        tracemalloc.start()
        with pytest.raises(UserError):
            unpacked(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**22, name


def test_a_bundle_that_is_cut_anywhere_is_refused(files: Files, small: Path, tmp_path: Path, cache: Path) -> None:
    content = small.read_bytes()
    path = tmp_path / "cut.umseg"
    places = [*range(64), *range(len(content) - 64, len(content)), *random.Random(0).sample(range(len(content)), 100)]
    for place in places:
        path.write_bytes(content[:place])
        with pytest.raises(UserError):
            unpacked(path)
    assert not list(cache.glob("*/*"))


def test_a_flipped_bit_of_the_content_is_found(small: Path, files: Files, tmp_path: Path, cache: Path) -> None:
    content = small.read_bytes()
    path = tmp_path / "flipped.umseg"
    rng = random.Random(1)
    places = rng.sample(range(content.index(files[WEIGHTS]), content.index(files[WEIGHTS]) + len(files[WEIGHTS])), 20)
    places += rng.sample(range(38, content.index(b"PK\3\4", 38)), 20)
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(UserError, match=r"damaged|not valid"):
            unpacked(path)
    assert not list(cache.glob("*/*"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_not_read(tmp_path: Path, cache: Path) -> None:
    os.mkfifo(tmp_path / "pipe.umseg")
    with pytest.raises(UserError, match="not a regular file"):
        unpacked(tmp_path / "pipe.umseg")
