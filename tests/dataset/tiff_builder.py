"""TIFF files written byte by byte: every type, byte order, compression and layout, without the code that reads them."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL.TiffImagePlugin import TiffImageFile

# Numbers of the compressions, and Pillow's names for those that it writes.
COMPRESSIONS = {
    "none": 1,
    "CCITT RLE": 2,
    "CCITT T.4": 3,
    "CCITT T.6": 4,
    "LZW": 5,
    "JPEG": 7,
    "deflate": 8,
    "PackBits": 32773,
    "LZMA": 34925,
    "Zstandard": 50000,
}
_PILLOW = {2: "tiff_ccitt", 3: "group3", 4: "group4", 5: "tiff_lzw", 32773: "packbits", 50000: "zstd"}
CCITT = (2, 3, 4)
LAYOUTS = ("one strip", "strips", "tiles", "planes", "pages")
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE = 0, 1, 2, 3
NO_PREDICTOR, DIFFERENCES, FLOATING_POINT = 1, 2, 3
STRIP, TILE = 10, 16


@dataclass(frozen=True)
class Tiff:
    """How an array is to be stored.

    Attributes:
        values: (pages, y, x, components of a pixel).
        order: ``<`` or ``>``.
        compression: A number of ``COMPRESSIONS``.
        layout: One of ``LAYOUTS``.
        predictor: ``NO_PREDICTOR``, ``DIFFERENCES`` or ``FLOATING_POINT``.
        photometric: What the numbers stand for.
        bits: Bits of a number; None: those of its type.
        big: Whether the file is a BigTIFF.
        tags: Further tags: number to whole numbers of 16 bits.
        text: The description.
    """

    values: NDArray[Any]
    order: str = "<"
    compression: int = 1
    layout: str = "one strip"
    predictor: int = NO_PREDICTOR
    photometric: int = MIN_IS_BLACK
    bits: int | None = None
    big: bool = False
    tags: dict[int, Sequence[int]] = field(default_factory=dict)
    text: str = ""

    def write(self, path: Path) -> Path:
        """Write the file and return its path."""
        path.write_bytes(self.content())
        return path

    def content(self) -> bytes:
        """The bytes of the file."""
        word = "Q" if self.big else "I"
        head = struct.pack(f"{self.order}2sH", b"II" if self.order == "<" else b"MM", 43 if self.big else 42)
        head += struct.pack(f"{self.order}HHQ", 8, 0, 16) if self.big else struct.pack(f"{self.order}I", 8)
        out = bytearray(head)
        for number, page in enumerate(self.values):
            segments = [self._pack(part) for part in self._parts(page)]
            tags = self._page_tags(page, [len(segment) for segment in segments])
            out += self._table(tags, len(out), segments, last=number == len(self.values) - 1, word=word)
        return bytes(out)

    @property
    def bits_per_number(self) -> int:
        """Bits of a number as it is stored."""
        return self.bits or (1 if self.values.dtype == np.bool_ else self.values.dtype.itemsize * 8)

    def _parts(self, page: NDArray[Any]) -> list[NDArray[Any]]:
        """The strips or tiles of a page, (rows, columns, components)."""
        if self.layout == "planes":
            planes = [page[..., number : number + 1] for number in range(page.shape[-1])]
            return [plane[row : row + STRIP] for plane in planes for row in range(0, len(page), STRIP)]
        if self.layout == "tiles":
            down, across = -(-page.shape[0] // TILE), -(-page.shape[1] // TILE)
            padded = np.zeros((down * TILE, across * TILE, page.shape[2]), page.dtype)
            padded[: page.shape[0], : page.shape[1]] = page
            tiles = padded.reshape(down, TILE, across, TILE, -1).swapaxes(1, 2)
            return list(tiles.reshape(down * across, TILE, TILE, -1))
        rows = STRIP if self.layout == "strips" else len(page)
        return [page[row : row + rows] for row in range(0, len(page), rows)]

    def _pack(self, part: NDArray[Any]) -> bytes:
        """A strip or tile, packed, predicted and compressed."""
        rows, columns, components = part.shape
        bits = self.bits_per_number
        if bits < 8 or bits == 12:
            wide = part.astype(np.uint16)[..., None] >> np.arange(bits)[::-1] & 1
            plain = np.packbits(wide.reshape(rows, -1).astype(np.uint8), axis=1).tobytes()
            width = columns if self.compression in CCITT else len(plain) // rows
            return compress(plain, self.compression, width, rows)
        size = part.dtype.itemsize
        if self.predictor == FLOATING_POINT:
            planes = np.ascontiguousarray(part.astype(f">f{size}")).view(np.uint8).reshape(rows, -1, size)
            stored = planes.swapaxes(1, 2).reshape(rows, -1, components).copy()
            stored[:, 1:] -= stored[:, :-1].copy()
            plain = stored.tobytes()
        else:
            whole = part.astype(part.dtype.newbyteorder("=")).view(f"u{size}").copy()
            if self.predictor == DIFFERENCES:
                whole[:, 1:] -= whole[:, :-1].copy()
            plain = whole.astype(f"{self.order}u{size}").tobytes()
        return compress(plain, self.compression, len(plain) // rows, rows)

    def _page_tags(self, page: NDArray[Any], lengths: Sequence[int]) -> dict[int, tuple[str, Sequence[int] | bytes]]:
        height, width, components = page.shape
        kind = {"b": 1, "u": 1, "i": 2, "f": 3}[page.dtype.kind]
        tags: dict[int, tuple[str, Sequence[int] | bytes]] = {
            256: ("I", [width]),
            257: ("I", [height]),
            258: ("H", [self.bits_per_number] * components),
            259: ("H", [self.compression]),
            262: ("H", [self.photometric]),
            277: ("H", [components]),
            284: ("H", [2 if self.layout == "planes" else 1]),
            317: ("H", [self.predictor]),
            339: ("H", [kind] * components),
        }
        if self.text:
            tags[270] = ("s", self.text.encode() + b"\0")
        if self.photometric == PALETTE:
            colours = np.random.default_rng(0).integers(0, 65_536, 3 << self.bits_per_number)
            tags[320] = ("H", colours.tolist())
        if self.layout == "tiles":
            tags |= {322: ("I", [TILE]), 323: ("I", [TILE]), 324: ("I", list(lengths)), 325: ("I", list(lengths))}
        else:
            rows = STRIP if self.layout in ("strips", "planes") else height
            tags |= {273: ("I", list(lengths)), 278: ("I", [rows]), 279: ("I", list(lengths))}
        return tags | {tag: ("H", list(values)) for tag, values in self.tags.items()}

    def _table(
        self,
        tags: dict[int, tuple[str, Sequence[int] | bytes]],
        start: int,
        segments: Sequence[bytes],
        last: bool,
        word: str,
    ) -> bytes:
        """A page's table, the values that do not fit into it, and its strips or tiles."""
        word_bytes, count = struct.calcsize(word), struct.pack(f"{self.order}{'Q' if self.big else 'H'}", len(tags))
        far_start = start + len(count) + len(tags) * (4 + 2 * word_bytes) + word_bytes
        packed = {tag: self._values(kind, values) for tag, (kind, values) in tags.items()}
        data_start = far_start + sum(len(value) for value in packed.values() if len(value) > word_bytes)
        places = np.cumsum([data_start, *map(len, segments)])[:-1].tolist()
        packed[324 if 324 in tags else 273] = self._values("I", places)
        table, far = b"", b""
        for tag in sorted(tags):
            kind, value = tags[tag][0], packed[tag]
            code = {"H": 3, "I": 4, "s": 2}[kind]
            number = len(value) // (1 if kind == "s" else struct.calcsize(kind))
            place = value.ljust(word_bytes, b"\0")
            if len(value) > word_bytes:
                place, far = struct.pack(f"{self.order}{word}", far_start + len(far)), far + value
            table += struct.pack(f"{self.order}HH{word}", tag, code, number) + place
        data = b"".join(segments)
        following = 0 if last else data_start + len(data)
        return count + table + struct.pack(f"{self.order}{word}", following) + far + data

    def _values(self, kind: str, values: Sequence[int] | bytes) -> bytes:
        return values if isinstance(values, bytes) else struct.pack(f"{self.order}{len(values)}{kind}", *values)


def compress(plain: bytes, compression: int, width: int, rows: int) -> bytes:
    """Compress a strip. For CCITT's codes ``width`` counts bits, for the others bytes."""
    if compression == 1:
        return plain
    if compression == 8:
        return zlib.compress(plain)
    if compression == 34925:
        return lzma.compress(plain, lzma.FORMAT_XZ, preset=0)
    packed = io.BytesIO()
    picture = Picture.frombytes("1" if compression in CCITT else "L", (width, rows), plain)
    # One strip, and for CCITT's codes black as 1: that is what this module writes, too.
    fields = {278: rows, 262: 1}
    picture.save(packed, "TIFF", compression=_PILLOW[compression], tiffinfo=fields, strip_size=1 << 30)
    packed.seek(0)
    with TiffImageFile(packed) as written:
        content = packed.getvalue()
        (offset,), (length,) = written.tag_v2[273], written.tag_v2[279]
    return content[offset : offset + length]
