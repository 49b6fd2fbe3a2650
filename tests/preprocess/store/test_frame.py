"""Stored arrays that hold something else than numbers, or whose headers lie."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.preprocess.store.frame import open_array, read_frame
from umseg.preprocess.store.layout import compress

DATA = np.random.default_rng(0).random((1, 9, 10, 11)).astype(np.float32)
SIZES = {"chunks": (1, 9, 10, 11), "blocks": (1, 3, 10, 11)}
Edit = Callable[[bytearray], None]


def open_bytes(folder: Path, content: bytes | bytearray) -> Any:
    path = folder / "case.data.b2nd"
    path.write_bytes(content)
    return open_array(path, "Plan again.", 1, mapped=False)


def other(array: NDArray[Any], **options: Any) -> bytes:
    frame: bytes = blosc2.asarray(array, **{"chunks": array.shape, "blocks": array.shape, **options}).to_cframe()
    return frame


@pytest.mark.parametrize(
    ("array", "patch"),
    [
        (DATA, (8, 8, 8)),
        (DATA.astype(np.float16), (8, 8)),
        (np.zeros((30, 20, 10), np.int8), (8, 8, 8)),
        (np.arange(6000, dtype=np.int16).reshape(30, 20, 10), (4, 4, 4)),
        (np.full((2, 20, 20, 20), np.nan, np.float32), (8, 8, 8)),
        (np.full((3, 1, 1, 1), 7, np.float32), (8, 8)),
        (np.random.default_rng(1).random((1, 150, 150, 150)).astype(np.float32), (32, 32, 32)),
    ],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_arrays_that_are_written_are_read(
    tmp_path: Path, array: NDArray[Any], patch: tuple[int, ...], mapped: bool
) -> None:
    (tmp_path / "a.b2nd").write_bytes(compress(array, patch))
    opened = open_array(tmp_path / "a.b2nd", "", 1, mapped=mapped)
    np.testing.assert_array_equal(opened[...], array)
    assert opened.dtype == array.dtype


def test_code_is_not_run(tmp_path: Path) -> None:
    """The entry by which blosc2 before 4.14 finds Python code in a file."""
    flag = tmp_path / "ran"
    source = f"def f(x):\n    open({str(flag)!r}, 'w')\n    return x"
    entry = {"UDF": source, "operands": {}, "name": "f", "dtype": "<f4", "shape": list(DATA.shape)}
    with pytest.raises(ValueError, match="something else than an array of numbers"):
        open_bytes(tmp_path, other(DATA, meta={"LazyArray": entry}))
    assert not flag.exists()


def _with_entry_at_the_end() -> bytes:
    array = blosc2.asarray(DATA, **SIZES)
    array.schunk.vlmeta["code"] = "import os"
    frame: bytes = array.to_cframe()
    return frame


OTHERS: dict[str, Callable[[], bytes]] = {
    "another entry": lambda: other(DATA, meta={"proxy-source": {"local_abspath": "/etc/passwd"}}),
    "entries at the end": _with_entry_at_the_end,
    "no array": lambda: blosc2.SChunk(data=DATA).to_cframe(),
    "texts": lambda: other(np.zeros((2, 3, 4), "S8")),
    "float64": lambda: other(DATA.astype(np.float64)),
    "int64": lambda: other(np.zeros((2, 3, 4), np.int64)),
    "complex": lambda: other(DATA.astype(np.complex64)),
    "two axes": lambda: other(DATA[0, 0]),
    "five axes": lambda: other(DATA[None]),
    "no voxel": lambda: other(np.zeros((0, 3, 4), np.int8), chunks=None, blocks=None),
    "another codec": lambda: other(DATA, cparams={"codec": blosc2.Codec.ZLIB}),
    "another filter": lambda: other(DATA, cparams={"filters": [blosc2.Filter.TRUNC_PREC], "filters_meta": [10]}),
    "memory that nobody has written": lambda: blosc2.uninit((2, 3, 4), np.int8).to_cframe(),
    "pickle": lambda: b"\x80\x04N.",
    "empty": lambda: b"",
    "cut": lambda: compress(DATA, (8, 8, 8))[:-1],
    "longer": lambda: compress(DATA, (8, 8, 8)) + b"\0",
    "cut in the header": lambda: compress(DATA, (8, 8, 8))[:100],
}


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        open_bytes(tmp_path, OTHERS[name]())


def text(at: bytes, value: bytes) -> Edit:
    def edit(content: bytearray) -> None:
        place = content.index(at)
        content[place : place + len(at)] = value

    return edit


def number(place: int, form: str, value: int) -> Edit:
    return lambda content: struct.pack_into(form, content, place, value)


# Places of an array with four axes: the header's fields, then those of the array, then the first chunk's own header.
EDITS: dict[str, Edit] = {
    "objects": text(b"\x00\xdb\x00\x00\x00\x03<f4", b"\x00\xdb\x00\x00\x00\x03|O8"),
    "addresses of objects": text(b"\x03<f4", b"\x03|O4"),
    "integers": text(b"\x03<f4", b"\x03<i4"),
    "shorter values": text(b"\x03<f4", b"\x03<f2"),
    "a text that is no type": text(b"\x03<f4", b"\x03\xff()"),
    "length of the file": number(16, ">Q", 2**40),
    "kind of file": number(26, ">B", 1),
    "codec": number(27, ">B", 0x5F),
    "bytes of all chunks": number(30, ">q", 2**40),
    "bytes on disk": number(39, ">q", 2**40),
    "bytes per value": number(48, ">i", 1),
    "bytes per block": number(53, ">i", 16),
    "bytes per chunk": number(58, ">i", 2**31 - 1),
    "filter of a package": number(71, ">B", 160),
    "codec of a package": number(77, ">B", 36),
    "negative shape": number(117, ">q", -1),
    "shape": number(126, ">q", 2**40),
    "longer axis": number(126, ">q", 10),
    "chunk": number(153, ">i", 0),
    "longer chunk": number(158, ">i", 2**30),
    "block": number(179, ">i", 0),
    "longer block": number(179, ">i", 9),
    "chunk's bytes per value": number(206, "<B", 8),
    "chunk's bytes": number(207, "<i", 2**30),
    "chunk's bytes per block": number(211, "<i", 2**30),
    "chunk's codec": number(205, "<B", 0xC5),
    "chunk's codec of a package": number(225, "<B", 40),
    "chunk's filter of a package": number(219, "<B", 170),
}


@pytest.mark.parametrize("name", EDITS)
def test_headers_that_lie_are_refused(tmp_path: Path, name: str) -> None:
    content = bytearray(other(DATA, **SIZES, cparams={"codec": blosc2.Codec.LZ4}))
    open_bytes(tmp_path, content)
    EDITS[name](content)
    with pytest.raises((ValueError, RuntimeError)):
        open_bytes(tmp_path, content)


def test_no_byte_of_the_header_makes_another_array(tmp_path: Path) -> None:
    whole = compress(DATA, (8, 8, 8))
    with (tmp_path / "a").open("wb+") as file:
        file.write(whole)
        frame = read_frame(file)
    accepted = 0
    for place in range(203):
        for change in (0x01, 0x80, 0xFF):
            content = bytearray(whole)
            content[place] ^= change
            try:
                opened = open_bytes(tmp_path, content)
            except (ValueError, RuntimeError):
                continue
            accepted += 1
            assert (opened.shape, opened.dtype, opened.chunks) == (frame.shape, frame.dtype, frame.chunks)
    assert accepted < 60, "only flags, threads and parameters of filters may have other values"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(UserError, match="not a regular file") as caught:
        open_array(tmp_path / "a", "Plan again.", 1, mapped=False)
    assert caught.value.remedy == "Plan again."
