from __future__ import annotations

import os
from pathlib import Path

import pytest

from umseg.common.errors import UserError
from umseg.common.names import check_component, check_name, check_path, require_component, require_name

RESERVED = ["con", "NUL", "aux.txt", "COM1", "lpt9.nii.gz"]
ESCAPES = [
    "",
    ".",
    "..",
    "/",
    "a/b",
    "../a",
    "/etc",
    "a\\b",
    "..\\a",
    "a\0b",
    "a\nb",
    "a\x1b[2J",
    "a\u2028b",
    "x" * 300,
]


@pytest.mark.parametrize("name", ESCAPES)
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    for check in (check_name, check_component):
        with pytest.raises(ValueError, match="at most"):
            check(name)


@pytest.mark.parametrize("name", [*RESERVED, "a.", "a ", " a", "-a", ".a", "a:b", "a*"])
def test_names_that_windows_or_a_shell_takes_differently(name: str) -> None:
    with pytest.raises(ValueError, match="letters"):
        check_name(name)


@pytest.mark.parametrize("name", ["3d_fullres", "2d", "nnUNetResEncUNetLPlans", "umamba_enc-no-ssm", "Größe 2", "a+b"])
def test_names_in_use(name: str) -> None:
    assert check_name(name) == name
    assert require_name(name, "--tag") == name


@pytest.mark.parametrize("name", ["case.1.x", "a b", "Fälle, 3", "患者_1", "x.nii", "a..b", "(1)", "…", "a'b"])
def test_names_of_cases(name: str) -> None:
    assert check_component(name) == name


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_colons_are_allowed_where_the_system_allows_them() -> None:
    assert check_component("2026-11-27T10:00") == "2026-11-27T10:00"


def test_name_that_is_no_unicode_is_refused_and_shown() -> None:
    with pytest.raises(UserError, match="folder is not a valid name") as caught:
        require_component("a\udcff", "The folder")
    assert caught.value.found == "'a\\udcff'"
    with pytest.raises(UserError, match="--tag is not a valid name"):
        require_name("a/b", "--tag")


@pytest.mark.parametrize("path", ["a\0b.nii", "x" * 256, "a/" * 3000])
def test_paths_that_no_file_can_have(path: str) -> None:
    with pytest.raises(ValueError, match="null characters"):
        check_path(path)
    with pytest.raises(ValueError, match="null characters"):
        check_path(Path(path))


@pytest.mark.parametrize("path", ["/data/Fälle, 3/x.nii", "..\\x", "", "a\nb"])
def test_paths_of_files(path: str) -> None:
    assert check_path(path) == path
