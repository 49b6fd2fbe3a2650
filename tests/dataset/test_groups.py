"""Tables of cases that belong together, in the forms in which they come."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from umseg.common.errors import UserError
from umseg.dataset.dataset import load_dataset
from umseg.dataset.groups import read_groups


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_row_per_case(tmp_path: Path) -> None:
    file = write(tmp_path / "g.csv", "case,group", "a,p1", "b,p1", "c,", "d,p2")
    assert read_groups(file, ["a", "b", "c", "d"]) == {"a": "p1", "b": "p1", "c": "c", "d": "p2"}


def test_columns_have_other_names_and_cases_are_files(tmp_path: Path) -> None:
    file = write(tmp_path / "g.csv", "Patient,Age,Image", "p1,40,a.png", "p1,40,images/b.tif")
    assert read_groups(file, ["a", "b"]) == {"a": "p1", "b": "p1"}


def test_rows_that_are_not_for_training_are_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "m.csv", "id,field_group,split", "a,f1,train", "b,f2,val", "c,f1,train")
    assert read_groups(file, ["a", "c"]) == {"a": "f1", "c": "f1"}


@pytest.mark.parametrize("header", ["id_a,id_b,id_c", "case1,case2,case3", "Image_1,Image_2,Image_3"])
def test_rows_of_cases_that_belong_together(tmp_path: Path, header: str) -> None:
    file = write(tmp_path / "p.csv", header, "c,d,", "e,d,", "b,a,f")
    groups = read_groups(file, list("abcdefg"))
    assert groups == {"a": "a", "b": "a", "f": "a", "c": "c", "d": "c", "e": "c", "g": "g"}


@pytest.mark.parametrize(
    ("lines", "problem", "found"),
    [
        (["case,group", "a,1", "b,1", "x,2"], "not training cases", "x (line 4)"),
        (["case,group", "a,1", "b,1", ",2"], "not training cases", "an empty cell (line 4)"),
        (["case,group", "a,1"], "leaves cases out", "no row for 1 of 2 cases: b"),
        (["case,group", "a,1", "b,1", "a,2"], "more than once", "a in lines 2 and 4"),
        (["id_a,id_b", "a,b", "a,y"], "not training cases", "y (line 3)"),
        (["case,age", "a,1"], "lacks a column", "case, age"),
        ([""], "lacks a column", "an empty file"),
    ],
)
def test_wrong_tables_are_explained(tmp_path: Path, lines: list[str], problem: str, found: str) -> None:
    file = write(tmp_path / "g.csv", *lines)
    with pytest.raises(UserError, match=problem) as caught:
        read_groups(file, ["a", "b"])
    assert caught.value.file == str(file)
    assert caught.value.found == found
    assert caught.value.remedy


def test_pairs_of_hippocampi(shared: Path) -> None:
    dataset = load_dataset(shared / "data" / "Dataset004_Hippocampus")
    ids = [case.id for case in dataset.cases]
    groups = read_groups(dataset.folder / "hippocampus_pairs.csv", ids)
    assert set(groups) == set(ids)
    assert groups["hippocampus_007"] == groups["hippocampus_008"]
    assert groups["hippocampus_003"] == "hippocampus_003"


def test_fields_of_view_of_nuclei(shared: Path) -> None:
    manifest = shared / "data" / "Dataset703_DSB2018" / "manifest.csv"
    with manifest.open(newline="") as handle:
        ids = [row["id"] for row in csv.DictReader(handle) if row["split"] == "train"]
    groups = read_groups(manifest, ids)
    assert len(groups) == 467
    assert len(set(groups.values())) < 467
