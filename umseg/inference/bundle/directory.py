"""The end of a zip archive, checked before a library reads the list of files that it points to.

The library reads that list into memory as a whole, wherever the end of the archive says that it is, and an archive may
be forged. Here the list has to be small, to end where the end of the archive begins, and to be described once.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

MOST_DIRECTORY_BYTES = 2**20
"""Largest list of files: a thousand names have a tenth of that."""

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END_MARK, _END64_MARK, _LOCATOR_MARK = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_IN_END64 = (0xFFFF, 0xFFFFFFFF)
"""Numbers that stand for "too large for this field, see the 64-bit end"."""


@dataclass(frozen=True)
class Directory:
    """Where the list of files is.

    Attributes:
        start: Its first byte.
        size: Its bytes.
        count: Number of files.
    """

    start: int
    size: int
    count: int


def find_directory(file: BinaryIO, most_files: int) -> Directory:
    """Find the list of files of an archive that ends with the file and has no comment.

    Args:
        file: The archive, open for reading.
        most_files: Most files that it may hold.

    Raises:
        ValueError: The file is no such archive; the message says how that shows.
        OSError: The file cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    tail = _tail(file, size, _END64.size + _LOCATOR.size + _END.size)
    mark, disk, first_disk, here, count, length, start, comment = _unpack(_END, tail, 0)
    if mark != _END_MARK:
        raise ValueError("no end of a zip archive: the file is cut, or it is something else")
    if disk or first_disk or comment or here != count:
        raise ValueError("an archive of several parts, or with a comment")
    end = size - _END.size
    if _unpack(_LOCATOR, tail, _END.size)[0] == _LOCATOR_MARK:
        end -= _LOCATOR.size + _END64.size
        count, length, start = _large(tail, end, (count, length, start))
    if count > most_files or length > MOST_DIRECTORY_BYTES:
        raise ValueError(f"a list of {count:,} files in {length:,} bytes; at most {most_files:,} files are read")
    if start + length != end:
        raise ValueError("a list of files that is not where the end of the archive says")
    return Directory(start, length, count)


def _large(tail: bytes, end: int, small: tuple[int, int, int]) -> tuple[int, int, int]:
    """Number of files, bytes of their list and its first byte, from the 64-bit end, which must not contradict."""
    _, disk, place, disks = _unpack(_LOCATOR, tail, _END.size)
    mark, length, _, _, part, first_part, here, *values = _unpack(_END64, tail, _END.size + _LOCATOR.size)
    count, size, start = values
    if mark != _END64_MARK or length != _END64.size - 12 or place != end or disk or disks != 1 or part or first_part:
        raise ValueError("a 64-bit end of the archive that is not valid")
    same = all(few in (many, *_IN_END64) for few, many in zip(small, values, strict=True))
    if here != count or not same:
        raise ValueError("two ends of the archive that contradict each other")
    return count, size, start


def _tail(file: BinaryIO, size: int, length: int) -> bytes:
    """The last bytes of a file, with zeros in front of a shorter one."""
    file.seek(max(size - length, 0))
    return file.read(length).rjust(length, b"\0")


def _unpack(form: struct.Struct, tail: bytes, behind: int) -> tuple[Any, ...]:
    """Fields of a structure that ends ``behind`` bytes before the end; the first is its mark."""
    end = len(tail) - behind
    return form.unpack(tail[end - form.size : end])
