"""A first look at the pages of a TIFF file, before a library follows them."""

from __future__ import annotations

import struct
from typing import BinaryIO

from umseg.dataset.io.source import DamagedFileError

_MOST_PAGES = 1 << 16
# tifffile reads no page with more.
_MOST_TAGS = 4096
# Values up to this size may be shared between pages, as some programs do with the numbers of bits.
_SMALL_VALUE = 64
# TIFF 6.0 and BigTIFF: bytes of a value, by the type of a field.
_TYPE_BYTES = dict(zip(range(1, 19), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 2, 0, 8, 8, 8), strict=True))
# Tags that say how pixels are stored: type of page, size, bits, compression, colours, order of bits, components, rows
# of a strip, planes, predictor, size of tiles, extra components, sample format, JPEG tables, subsampling, depth, and
# the orientation.
_LAYOUT_TAGS = {254, 256, 257, 258, 259, 262, 266, 274, 277, 278, 284, 317, 322, 323, 338, 339, 347, 530, 32997, 32998}
# Those of them that are one number: width, height, compression, ... Code that multiplies sizes would repeat a list.
_SINGLE_TAGS = {256, 257, 259, 262, 266, 277, 278, 284, 317, 322, 323, 32997, 32998}
_STRIP_OFFSETS = 273
_LARGEST_LAYOUT = 256

Layout = tuple[tuple[int, int, int, "int | bytes"], ...]
"""Tag, type, count and value of the fields of a page that say how its pixels are stored."""


def follow_pages(handle: BinaryIO, length: int) -> list[Layout]:
    """Find all pages and check that the values of their tags lie in the file.

    tifffile finds only some circles of pages, ITK runs in them for ever; tifffile leaves out tags that it cannot read.
    Tables and values that lie over each other would let a small file stand for much memory: all together may not be
    longer than the file.

    Returns:
        For each page the tags that say how its pixels are stored.
    """
    head = handle.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version = 0 if order is None or len(head) < 16 else struct.unpack_from(f"{order}H", head, 2)[0]
    if version not in (42, 43):
        raise DamagedFileError("the file does not begin as a TIFF does")
    counter, word = ("Q", "Q") if version == 43 else ("H", "I")
    counter_bytes, word_bytes = struct.calcsize(counter), struct.calcsize(word)
    entry = struct.Struct(f"{order}HH{word}{word}")
    (offset,) = struct.unpack_from(f"{order}{word}", head, 8 if version == 43 else 4)
    layouts: dict[int, Layout] = {}
    left = length
    while offset:
        if offset in layouts:
            raise DamagedFileError("its pages follow each other in a circle")
        if len(layouts) >= _MOST_PAGES:
            raise DamagedFileError(f"it has more than {_MOST_PAGES} pages")
        (tags,) = struct.unpack(f"{order}{counter}", _part(handle, offset, counter_bytes, length))
        if tags > _MOST_TAGS:
            raise DamagedFileError(f"a page has {tags} tags, more than {_MOST_TAGS}")
        table = _part(handle, offset + counter_bytes, tags * entry.size + word_bytes, length)
        left -= len(table)
        layout: list[tuple[int, int, int, int | bytes]] = []
        for tag, kind, count, place in entry.iter_unpack(table[:-word_bytes]):
            size = count * _TYPE_BYTES.get(kind, 0)
            if size > word_bytes and place + size > length:
                raise _behind_the_end(length)
            if tag in _SINGLE_TAGS and count != 1:
                raise DamagedFileError(f"the tag {tag} of a page has {count} numbers instead of one")
            left -= size if size > _SMALL_VALUE else 0
            if tag in _LAYOUT_TAGS:
                far = word_bytes < size <= _LARGEST_LAYOUT
                layout.append((tag, kind, count, _part(handle, place, size, length) if far else place))
            elif tag == _STRIP_OFFSETS:
                layout.append((tag, kind, count, 0))
        if left < 0:
            raise DamagedFileError("the tags of its pages are longer than the file: their values lie over each other")
        layouts[offset] = tuple(layout)
        (offset,) = struct.unpack(f"{order}{word}", table[-word_bytes:])
    if not layouts:
        raise DamagedFileError("the file has no page")
    return list(layouts.values())


def has_single_strip(layout: Layout) -> bool:
    """Whether all pixels of a page lie in one strip; tifffile takes it for granted that pages are all in one piece."""
    return any(tag == _STRIP_OFFSETS and count == 1 for tag, _, count, _ in layout)


def _part(handle: BinaryIO, offset: int, size: int, length: int) -> bytes:
    if offset + size > length:
        raise _behind_the_end(length)
    handle.seek(offset)
    return handle.read(size)


def _behind_the_end(length: int) -> DamagedFileError:
    return DamagedFileError(f"a page of the file lies behind its end at {length} bytes")
