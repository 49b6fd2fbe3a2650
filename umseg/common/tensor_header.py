"""The header of a safetensors file, checked before any tensor is read: names, types, shapes and places in the file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from umseg.common.json_file import parse_json

MOST_HEADER_BYTES = 100_000_000
"""Largest header, which is also the limit of the safetensors library."""
MOST_TENSORS = 100_000
"""Most tensors of a file. The checkpoint of a large network has a few thousand."""

_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


@dataclass(frozen=True)
class TensorEntry:
    """What the header says of one tensor.

    Attributes:
        dtype: Type in safetensors' words, e.g. ``F32`` or ``BF16``.
        shape: Numbers per axis; empty for a single number.
        begin: First byte, counted from the end of the header.
        end: Byte after the last one.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class TensorHeader:
    """The header of a safetensors file.

    Attributes:
        tensors: Every tensor's entry, by name.
        metadata: Texts that the writer added, by name.
        data_bytes: Bytes of all tensors together.
    """

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    data_bytes: int


def read_header(file: BinaryIO) -> TensorHeader:
    """Read the header of an open file, and check that the tensors fill the rest of the file without gap or overlap.

    Args:
        file: A file that was opened for reading, at its beginning.

    Raises:
        ValueError: The header is damaged or too large; the message says how that shows.
        OSError: The file cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    left = size - _LENGTH_BYTES - length
    if size < _LENGTH_BYTES or left < 0:
        raise ValueError(f"a file of {size:,} bytes, which is shorter than its header")
    if length > MOST_HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes; at most {MOST_HEADER_BYTES:,} are read")
    content = parse_json(file.read(length).decode("utf-8"))
    if not isinstance(content, dict):
        raise ValueError("a header that is not an object of JSON")
    metadata = content.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"{_METADATA} that is not an object of texts")
    if len(content) > MOST_TENSORS:
        raise ValueError(f"{len(content):,} tensors; at most {MOST_TENSORS:,} are read")
    tensors = {name: _entry(name, fields) for name, fields in content.items()}
    place = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != place:
            raise ValueError(f"tensor '{name}' begins at byte {entry.begin:,} where {place:,} was expected")
        place = entry.end
    if place != left:
        raise ValueError(f"{left:,} bytes of tensors where the header announces {place:,}")
    return TensorHeader(tensors, metadata, left)


def _entry(name: str, fields: Any) -> TensorEntry:
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor '{name}' without exactly dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise ValueError(f"tensor '{name}' of the type {dtype!r:.40}; known are {', '.join(_ITEM_BYTES)}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor '{name}' whose shape or place in the file is not valid")
    needed = math.prod(shape) * _ITEM_BYTES[dtype]
    if offsets[1] - offsets[0] != needed:
        raise ValueError(f"tensor '{name}' of {needed:,} bytes in a place of {offsets[1] - offsets[0]:,} bytes")
    return TensorEntry(dtype, tuple(shape), offsets[0], offsets[1])


def _are_sizes(values: Any) -> bool:
    # bool is an int for Python. The product of more axes or longer ones would be a number of thousands of digits.
    return (
        isinstance(values, list)
        and len(values) <= 32
        and all(type(value) is int and 0 <= value < 2**63 for value in values)
    )
