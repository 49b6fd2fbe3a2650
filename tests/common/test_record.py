from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from umseg.common.errors import UserError
from umseg.common.json_file import read_json
from umseg.common.record import Record, expectation

REMEDY = "Make it again."


class Part(Record):
    name: str
    size: tuple[int, ...]


class Document(Record):
    schema_version: Literal[1] = 1
    value: float
    parts: dict[str, Part]


DOCUMENT = Document(value=0.1, parts={"ä": Part(name="ü\n", size=(1, 2))})


def write(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps({**DOCUMENT.model_dump(mode="json"), **changes}), encoding="utf-8")
    return path


parts = st.builds(Part, name=st.text(st.characters(codec="utf-8")), size=st.lists(st.integers()).map(tuple))
documents = st.builds(
    Document,
    value=st.floats(allow_nan=False, allow_infinity=False),
    parts=st.dictionaries(st.text(st.characters(codec="utf-8")), parts, max_size=3),
)


@given(document=documents)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, document: Document) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.json"
    document.save(path)
    assert Document.load(path, REMEDY) == document


def test_saved_file_is_readable_and_ends_with_a_newline(tmp_path: Path) -> None:
    DOCUMENT.save(tmp_path / "d.json")
    lines = (tmp_path / "d.json").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["{", '  "schema_version": 1,', '  "value": 0.1,']
    assert (tmp_path / "d.json").read_bytes().endswith(b"\n")


def test_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DOCUMENT.value = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "field", "found", "expected"),
    [
        ({"colour": "red"}, "colour", '"red"', "not permitted"),
        ({"value": "many"}, "value", '"many"', "valid number"),
        ({"value": None}, "value", "null", "valid number"),
        ({"schema_version": 2}, "schema_version", "2", "1"),
        ({"parts": {"p": {"name": 3, "size": []}}}, "parts.p.name", "3", "valid string"),
        ({"parts": {"p": {"name": "n", "size": [1, 2.5]}}}, "parts.p.size.1", "2.5", "valid integer"),
    ],
)
def test_names_the_field(tmp_path: Path, changes: dict[str, object], field: str, found: str, expected: str) -> None:
    path = write(tmp_path / "d.json", **changes)
    with pytest.raises(UserError) as caught:
        Document.load(path, REMEDY)
    error = caught.value
    assert error.problem == f"d.json is not valid: field '{field}'."
    assert (error.file, error.found, error.remedy) == (str(path), found, REMEDY)
    assert expected in str(error.expected)


def test_missing_field_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text("{}")
    with pytest.raises(UserError, match="'value'") as caught:
        Document.load(tmp_path / "d.json", REMEDY)
    assert caught.value.expected == "Field required"


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null"])
def test_document_that_is_no_object(tmp_path: Path, content: str) -> None:
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(UserError, match="the whole document") as caught:
        Document.load(tmp_path / "d.json", REMEDY)
    assert caught.value.found == content


def test_long_input_is_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", value=["long"] * 1000)
    with pytest.raises(UserError) as caught:
        Document.load(path, REMEDY)
    assert len(str(caught.value.found)) == 200
    assert str(caught.value.found).endswith("...")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{'value': 1}", b'{"value": 1} x', b"\xff\xfe\x00", b'{"value": 1'], ids=repr
)
def test_file_that_is_not_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"d\.json is not valid JSON") as caught:
        Document.load(path, REMEDY)
    assert caught.value.file == str(path)
    assert caught.value.found
    assert caught.value.remedy == REMEDY


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    DOCUMENT.save(path)
    whole = path.read_bytes().rstrip()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            Document.load(path, REMEDY)


def test_file_from_a_windows_editor(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text(json.dumps(DOCUMENT.model_dump(mode="json")), encoding="utf-8-sig")
    assert Document.load(path, REMEDY) == DOCUMENT


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"d\.json does not exist") as caught:
        read_json(tmp_path / "d.json", REMEDY)
    assert caught.value.remedy == REMEDY


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read") as caught:
        read_json(tmp_path, REMEDY)
    assert caught.value.file == str(tmp_path)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Input should be greater than 0", "greater than 0"),
        ("Value error, the background is not 0", "the background is not 0"),
        ("Extra inputs are not permitted", "Extra inputs are not permitted"),
    ],
)
def test_messages_of_pydantic_lose_their_beginning(message: str, words: str) -> None:
    assert expectation(message) == words
