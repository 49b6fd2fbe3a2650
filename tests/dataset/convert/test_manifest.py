from __future__ import annotations

from pathlib import Path

import pytest

from umseg.common.errors import UserError
from umseg.dataset.convert.manifest import USUAL_COLUMNS, Columns, Row, case_name, read_manifest, write_groups


def manifest(folder: Path, *lines: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_usual_columns(tmp_path: Path) -> None:
    path = manifest(tmp_path, "id,modality,field_group,split", "a,x,g1,train", "b,x,,val", "c,x,g1,Train")
    assert read_manifest(path, USUAL_COLUMNS) == {
        "a": Row(training=True, group="g1"),
        "b": Row(training=False, group=None),
        "c": Row(training=True, group="g1"),
    }


def test_only_cases(tmp_path: Path) -> None:
    assert read_manifest(manifest(tmp_path, "file", "images/a.PNG", "b.tiff"), USUAL_COLUMNS) == {
        "a": Row(),
        "b": Row(),
    }


def test_named_columns(tmp_path: Path) -> None:
    path = manifest(tmp_path, "id,split,nr,part,patient", "x,train,a,test,p", "y,test,b,training,q")
    found = read_manifest(path, Columns("nr", "part", "patient"))
    assert found == {"a": Row(training=False, group="p"), "b": Row(training=True, group="q")}


@pytest.mark.parametrize(
    ("lines", "columns", "problem"),
    [
        (["a,b", "1,2"], USUAL_COLUMNS, "lacks a column"),
        ([""], USUAL_COLUMNS, "lacks a column"),
        (["id,split", "a,train"], Columns(split="part"), "lacks a column"),
        (["id,split", "a,train"], Columns(group="patient"), "lacks a column"),
        (["id", "a.png", "b", "a.tif"], USUAL_COLUMNS, "more than once"),
        (["id,split", "a,test", "b,val"], USUAL_COLUMNS, "no case for training"),
        (["id,split", "a,train", "b"], USUAL_COLUMNS, "1 rows without a value in the column split"),
        (["id,split", ",train"], USUAL_COLUMNS, "1 rows without a value in the column id"),
    ],
)
def test_wrong_manifest(tmp_path: Path, lines: list[str], columns: Columns, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as error:
        read_manifest(manifest(tmp_path, *lines), columns)
    assert error.value.remedy


def test_wrong_encoding(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes("id\nmüller\n".encode("latin-1"))
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(path, USUAL_COLUMNS)


def test_groups_are_sorted_and_complete(tmp_path: Path) -> None:
    write_groups(tmp_path / "groups.csv", {"b": Row(group="g,1"), "a": Row(), "c": Row(group="g2")})
    assert (tmp_path / "groups.csv").read_text() == 'case,group\na,a\nb,"g,1"\nc,g2\n'


@pytest.mark.parametrize(
    ("text", "name"), [("x/a.b.Tif", "a.b"), (" a ", "a"), ("a_0000.png", "a_0000"), ("1.5", "1.5")]
)
def test_case_name(text: str, name: str) -> None:
    assert case_name(text) == name


def test_a_long_manifest_with_one_case_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="more than once") as raised:
        read_manifest(manifest(tmp_path, "id", *map(str, range(100_000)), "7"), USUAL_COLUMNS)
    assert raised.value.found == "7"
