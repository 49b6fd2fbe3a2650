from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from umseg.common.errors import UserError
from umseg.common.files import open_regular, read_bytes, read_text
from umseg.common.json_file import MOST_DEPTH, parse_json, read_json

REMEDY = "Write it again."
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        read_json(path, REMEDY)
    assert caught.value.file == str(path)
    assert caught.value.remedy == REMEDY
    assert len(str(caught.value)) < 1000
    return caught.value


@posix
def test_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.json")
    assert refusal(tmp_path / "model.json").found == "a named pipe"


@posix
def test_pipe_that_replaces_the_file_between_the_looks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, pipe = tmp_path / "plain", tmp_path / "model.json"
    file.write_text("{}")
    os.mkfifo(pipe)
    plain = file.stat()
    monkeypatch.setattr(Path, "stat", lambda self, **kwargs: plain)
    assert refusal(pipe).found == "a named pipe"


@posix
def test_device_is_refused() -> None:
    assert refusal(Path("/dev/zero")).found == "a device"


@posix
def test_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The path of a socket may have only about a hundred letters.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        assert refusal(Path("s")).found == "a socket"


def test_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).found == "a folder"


@posix
def test_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("[1]")
    (tmp_path / "b").symlink_to("a")
    assert read_json(tmp_path / "b", REMEDY) == [1]


def test_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    with file.open("wb") as handle:
        handle.truncate(2**40)
    assert refusal(file).found == f"{2**40:,} bytes"
    file.write_bytes(b"x" * 11)
    assert read_bytes(file, 11) == b"x" * 11
    with pytest.raises(UserError, match="too large"):
        read_bytes(file, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has files that state no size")
def test_file_that_holds_more_than_it_states_is_refused() -> None:
    file = Path("/proc/self/status")
    assert file.stat().st_size == 0
    with pytest.raises(UserError, match="too large"):
        read_bytes(file, 10)


def test_missing_file_stays_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_bytes_and_line_ends_are_kept(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"\x1aa\r\nb\n")
    assert read_text(tmp_path / "t", 100) == "\x1aa\r\nb\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_of_editors(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "d.json").write_text('{"ä": "\\ud83d\\ude00"}\r\n', encoding=encoding)
    assert read_json(tmp_path / "d.json", REMEDY) == {"ä": "\U0001f600"}


def test_another_encoding_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"ä": 1}', encoding="latin-1")
    with pytest.raises(UserError, match="is not valid JSON") as caught:
        read_json(tmp_path / "d.json", REMEDY)
    assert caught.value.found == "byte 0xe4 at position 2, which is not utf-8"
    assert caught.value.expected == "a text that is saved as UTF-8"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1,\n "b": 2,\n}', "line 2, column 8: a comma after the last entry; remove it"),
        ("[1, 2, ]", "line 1, column 6: a comma after the last entry; remove it"),
        ('{\n  // note\n  "a": 1}', "line 2, column 3: a comment"),
        ('{"a": 1 # note\n}', "line 1, column 9: a comment"),
        ("{'a': 1}", "line 1, column 2: a single quotation mark"),
        (" \n", "an empty file"),
        ('{"a": 1', "line 1, column 8: "),
        ('{"a": {"k": 1, "l": 2, "k": 3}}', '"k" stands twice'),
        ('{"a": NaN}', "NaN"),
        ('{"a": [-Infinity]}', "-Infinity"),
        ("9" * 10_000, "digits"),
        ('{"a\\ud800": 1}', "half a character"),
        ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), "within each other"),
        ("[" * 200_000, "within each other"),
        ('{"a":' * 100_000, "within each other"),
    ],
    ids=range(15),
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "d.json").write_text(text)
    assert found in str(refusal(tmp_path / "d.json").found)


def test_deepest_file_that_is_read() -> None:
    text = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert json.dumps(parse_json(text)) == text
