from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from umseg.dataset.io.formats.byte_stream import ByteStream
from umseg.dataset.io.source import DamagedFileError

CONTENT = np.random.default_rng(0).integers(0, 4, 3_000_000).astype(np.uint8).tobytes()


@pytest.fixture(params=["plain", "gzip", "members"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    content = {
        "plain": CONTENT,
        "gzip": gzip.compress(CONTENT, 1),
        "members": b"".join(gzip.compress(part, 1) for part in (CONTENT[:70_000], b"", CONTENT[70_000:])),
    }[request.param]
    (tmp_path / "file").write_bytes(content)
    return tmp_path / "file"


def test_reads_forward(path: Path) -> None:
    with ByteStream(path) as stream:
        assert stream.read(10) == CONTENT[:10]
        assert stream.seek(69_990) == 69_990
        assert stream.read(30) == CONTENT[69_990:70_020]
        buffer = bytearray(2_000_000)
        assert stream.readinto(buffer) == len(buffer)
        assert bytes(buffer) == CONTENT[70_020:2_070_020]
        assert not stream.finish(100)
        with pytest.raises(io.UnsupportedOperation):
            stream.seek(0)
        assert stream.finish(len(CONTENT))
        assert stream.read(5) == b""
        assert (stream.position, stream.trailing) == (len(CONTENT), 0)


def test_ends_where_the_content_ends(path: Path) -> None:
    with ByteStream(path) as stream:
        assert stream.seek(2 * len(CONTENT)) == len(CONTENT)
        assert stream.read(1) == b""
    with ByteStream(path) as stream:
        assert stream.read(2 * len(CONTENT)) == CONTENT


@pytest.mark.parametrize("place", [-1, -8, 20])
def test_a_wrong_checksum_is_found_at_the_end(tmp_path: Path, place: int) -> None:
    content = bytearray(gzip.compress(CONTENT, 1))
    content[place] ^= 4
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DamagedFileError), ByteStream(tmp_path / "file") as stream:
        stream.finish(2 * len(CONTENT))


@pytest.mark.parametrize("zeros", [0, 1, 300_000])
@pytest.mark.parametrize("rest", [b"", b"\x1f", b"no gzip"])
def test_what_follows_the_compressed_data(tmp_path: Path, zeros: int, rest: bytes) -> None:
    (tmp_path / "file").write_bytes(gzip.compress(b"content") + bytes(zeros) + rest)
    with ByteStream(tmp_path / "file") as stream:
        assert stream.read(100) == b"content"
        assert stream.finish(1)
        assert stream.trailing == len(rest)
