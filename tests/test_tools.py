"""Tools of the repository: a check of pre-commit, and the pages of the site."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.empty_files import MAY_BE_EMPTY, empty_files, main
from tools.site_pages import ELSEWHERE, PAGES, pages, relink, split_readme

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in MAY_BE_EMPTY:
        (tmp_path / name).touch()
    (tmp_path / "gradients.sass").touch()
    (tmp_path / "full.txt").write_text("words\n")
    return tmp_path


def test_empty_files_are_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(folder.iterdir())
    assert len(paths) == len(MAY_BE_EMPTY) + 2
    assert empty_files(paths) == [folder / "gradients.sass"]
    assert main([str(path) for path in paths]) == 1
    assert "gradients.sass is empty" in capsys.readouterr().out


def test_others_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(path) for path in folder.iterdir() if path.suffix != ".sass"]
    assert paths
    assert main(paths) == 0
    assert not capsys.readouterr().out


def test_no_file_of_the_repository_is_empty() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git repository")
    names = [name for name in listed.stdout.split("\0") if name]
    assert len(names) > 100
    command = [sys.executable, "tools/empty_files.py", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_readme_is_divided_into_home_page_and_tutorial() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    home, tutorial = split_readme(readme)
    assert len(home) + len(tutorial) == len(readme) + len("# Tutorial\n\n")
    assert "## Use" in tutorial
    assert "## Install" in home
    with pytest.raises(ValueError, match="lacks the sections"):
        split_readme("# umseg\n\n## Install\n")


def test_links_of_pages_lead_to_pages() -> None:
    made = pages()
    assert set(PAGES.values()) < set(made)
    targets = {target for text in made.values() for target in re.findall(r"\]\(([^):#]+)\)", text)}
    assert targets
    assert all(target in made or (ROOT / "docs" / target).exists() for target in targets), targets


def test_links_to_files_without_a_page_become_text() -> None:
    (name,) = ELSEWHERE - {"LICENSE", "examples/plugin"}
    assert relink(
        f"the [code of conduct]({name}), [parity](docs/parity.md), [elsewhere](https://example.org/a.md)"
    ) == ("the code of conduct, [parity](parity.md), [elsewhere](https://example.org/a.md)")
