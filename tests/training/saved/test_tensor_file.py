"""Files of tensors: what their hash finds, and what a header is refused for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from umseg.common import tensor_header
from umseg.common.errors import UserError
from umseg.training.saved import tensor_file
from umseg.training.saved.tensor_file import load_tensors, save_tensors, weights_hash

REMEDY = "Copy it again."
TENSORS = {"a": torch.tensor([1.5, -2.0]), "b": torch.ones(3, dtype=torch.bfloat16), "c": torch.tensor(7)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, TENSORS, {"epoch": 3})
    return path


def write(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(shape: Any = (2,), offsets: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    return {"__metadata__": {"umseg": json.dumps(content)}, "a": entry()}


def test_every_flipped_bit_is_found(saved: Path) -> None:
    content = saved.read_bytes()
    assert len(content) > 300
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        saved.write_bytes(damaged)
        with pytest.raises(UserError):
            load_tensors(saved, REMEDY)


def test_every_bit_of_the_numbers_counts(saved: Path) -> None:
    content = saved.read_bytes()
    for bit in range(8 * (len(content) - 22), 8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged") as caught:
            load_tensors(saved, REMEDY)
        assert "SHA-256" in str(caught.value.found)


def test_equal_content_gives_equal_bytes(tmp_path: Path, saved: Path) -> None:
    for _ in range(5):
        save_tensors(tmp_path / "again.safetensors", TENSORS, {"epoch": 3})
        assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_files_of_earlier_versions_have_no_hash(tmp_path: Path, saved: Path) -> None:
    old = tmp_path / "old.safetensors"
    save_file(TENSORS, old, {"state": json.dumps({"epoch": 3})})
    tensors, state = load_tensors(old, REMEDY)
    assert state == {"epoch": 3}
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    assert weights_hash(old, REMEDY) == weights_hash(saved, REMEDY)


def test_hash_is_that_of_content(tmp_path: Path, saved: Path) -> None:
    before = weights_hash(saved, REMEDY)
    assert len(before) == 64
    save_tensors(saved, dict(reversed(TENSORS.items())), {"epoch": 3})
    assert weights_hash(saved, REMEDY) == before
    others = [
        {**TENSORS, "a": torch.tensor([1.5, -2.5])},
        {**TENSORS, "a": torch.tensor([[1.5, -2.0]])},
        {**TENSORS, "a": torch.tensor([1.5, -2.0], dtype=torch.float64)},
        {"d" if name == "a" else name: tensor for name, tensor in TENSORS.items()},
    ]
    found = set()
    for other in others:
        save_tensors(saved, other, {"epoch": 3})
        found.add(weights_hash(saved, REMEDY))
    assert len(found | {before}) == 5


def test_hash_is_read_without_the_tensors(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = weights_hash(saved, REMEDY)
    monkeypatch.setattr(tensor_file, "safe_open", None)
    assert weights_hash(saved, REMEDY) == expected


HEADERS: dict[str, tuple[Any, bytes]] = {
    "empty": (b"", b""),
    "no JSON": (b"{]", b""),
    "a list": ([], b""),
    "nested": (b"[" * 100_000, b""),
    "long number": (b'{"a": ' + b"9" * 10_000 + b"}", b""),
    "no tensor": ({"a": 3}, b""),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "another field": ({"a": {**entry(), "url": "x"}}, bytes(8)),
    "unknown type": ({"a": entry(dtype="F4")}, bytes(8)),
    "type that is a list": ({"a": entry(dtype=["F32"])}, bytes(8)),
    "complex": ({"a": entry(dtype="C64")}, bytes(8)),
    "negative size": ({"a": entry(shape=[-2])}, bytes(8)),
    "size that is no number": ({"a": entry(shape=[2.0])}, bytes(8)),
    "bool as size": ({"a": entry(shape=[True, 2])}, bytes(8)),
    "huge": ({"a": entry(shape=[2**40, 2**40], offsets=[0, 2**82])}, bytes(8)),
    "many axes": ({"a": entry(shape=[2**62] * 1000)}, bytes(8)),
    "beyond the file": ({"a": entry(shape=[4], offsets=[0, 16])}, bytes(8)),
    "shorter than the file": ({"a": entry()}, bytes(12)),
    "gap": ({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)),
    "overlap": ({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)),
    "backwards": ({"a": entry(offsets=[8, 0])}, bytes(8)),
    "three offsets": ({"a": entry(offsets=[0, 4, 8])}, bytes(8)),
    "other metadata": ({"__metadata__": {"hash": "0"}, "a": entry()}, bytes(8)),
    "metadata of numbers": ({"__metadata__": {"state": 3}, "a": entry()}, bytes(8)),
    "state that is no object": ({"__metadata__": {"state": "[]"}, "a": entry()}, bytes(8)),
    "state that is nested": ({"__metadata__": {"state": "[" * 100_000}, "a": entry()}, bytes(8)),
    "state with a long number": ({"__metadata__": {"state": '{"a": ' + "9" * 10_000 + "}"}, "a": entry()}, bytes(8)),
    "no hash": (sealed({"state": {}}), bytes(8)),
    "no state": (sealed({"sha256": "0" * 64}), bytes(8)),
    "hash that is a number": (sealed({"state": {}, "sha256": 3}), bytes(8)),
    "hash with a line end": (sealed({"state": {}, "sha256": "0" * 64 + "\n"}), bytes(8)),
    "hash of other numbers": (sealed({"state": {}, "sha256": "0" * 64}), bytes(8)),
    "twice": (b'{"a": %s, "a": %s}' % ((json.dumps(entry()).encode(),) * 2), bytes(8)),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_are_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "x.safetensors", *HEADERS[name])
    with pytest.raises(UserError, match="is damaged") as caught:
        load_tensors(path, REMEDY)
    assert (caught.value.file, caught.value.remedy) == (str(path), REMEDY)
    assert caught.value.found


@pytest.mark.parametrize("length", [2**63, 10**9, 100])
def test_a_header_longer_than_the_file(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "x.safetensors", {}, length=length)
    with pytest.raises(UserError, match="is damaged"):
        load_tensors(path, REMEDY)


def test_a_header_of_many_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_header, "MOST_TENSORS", 100)
    header = {str(number): entry(shape=[0], offsets=[0, 0]) for number in range(101)}
    path = write(tmp_path / "x.safetensors", header)
    with pytest.raises(UserError, match="is damaged") as caught:
        load_tensors(path, REMEDY)
    assert "101 tensors" in str(caught.value.found)


def test_a_sparse_file_larger_than_memory(tmp_path: Path) -> None:
    size = 2**42
    path = write(tmp_path / "x.safetensors", {"a": entry(shape=[size // 4], offsets=[0, size])})
    try:
        os.truncate(path, path.stat().st_size + size)
    except OSError:
        pytest.skip("this disk has no files with holes")
    with pytest.raises(UserError, match=r"needs 4\.4 TB; this machine has"):
        load_tensors(path, REMEDY)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="not a regular file"):
        load_tensors(tmp_path / "x.safetensors", REMEDY)
