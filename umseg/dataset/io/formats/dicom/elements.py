"""The data elements of a DICOM file, read through pydicom with limits: what a file says of lengths is never believed.

Files of this format name the patient. Only the tags that an image needs are read, and they stay undecoded: pydicom
warns of text that it cannot decode, and quotes it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag

from umseg.dataset.io.source import DamagedFileError

# pydicom warns of values that it finds odd, and quotes them; what matters here is checked and raised instead.
logging.getLogger("pydicom").setLevel(logging.ERROR)

# Uncompressed transfer syntaxes; the name of the first begins those of all others in the standard.
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
PLAIN_SYNTAXES = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
SOP_CLASS, SYNTAX = Tag("MediaStorageSOPClassUID"), Tag("TransferSyntaxUID")
PIXELS = (Tag("FloatPixelData"), Tag("DoubleFloatPixelData"), Tag("PixelData"))
"""The elements that hold pixels; a file has one of them."""

_META_GROUP = 2
# Headers are far smaller; a deflated file may be of any size.
_MOST_INFLATED = 1 << 24
# pydicom looks for the end of an element in blocks, which may go beyond the end of a file.
_BLOCK = 1 << 16


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings from the user: they quote what a file says, perhaps of the patient."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        yield


@dataclass(frozen=True)
class Elements:
    """Some data elements of a file.

    Attributes:
        meta: The meta information.
        found: The elements that were asked for and are there.
        syntax: The transfer syntax; guessed for a file that does not state it.
    """

    meta: Dataset
    found: Dataset
    syntax: str


class _Bounded:
    """A file of which no more can be read than there is: a length in it never becomes memory."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        here = handle.tell()
        self._size = handle.seek(0, io.SEEK_END)
        handle.seek(here)
        self.seek, self.tell = handle.seek, handle.tell

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._handle.tell(), 0)
        if size > max(left, _BLOCK):
            raise DamagedFileError(f"an element promises {size} bytes, the file has {left} more")
        return self._handle.read(left if size < 0 else size)


def read_elements(path: Path, tags: Iterable[BaseTag], pixel_bytes: int | None = None) -> Elements:
    """Read some elements of a file.

    Args:
        path: The file.
        tags: The elements.
        pixel_bytes: Length of the uncompressed pixels, if they are to be read as well.

    Raises:
        DamagedFileError: An element is longer than the file, or sequences are nested without end.
        OSError: The file cannot be read.
        Exception: Whatever pydicom trips over.
    """
    wanted: list[BaseTag] = [*tags, *(PIXELS if pixel_bytes is not None else ())]
    try:
        with path.open("rb") as handle:
            meta = _read_meta(cast("BinaryIO", _Bounded(handle)))
            syntax = text_of(meta, SYNTAX)
            if not syntax.startswith(IMPLICIT):
                return _read_guessed(handle, meta, syntax, wanted, pixel_bytes is None)
            content: BinaryIO = handle
            if syntax == DEFLATED:
                # pydicom would inflate without a limit.
                most = _MOST_INFLATED + (pixel_bytes or 0)
                content = io.BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(handle.read(), most))
            found = read_dataset(
                cast("BinaryIO", _Bounded(content)),
                syntax == IMPLICIT,
                syntax != BIG_ENDIAN,
                stop_when=_is_pixels if pixel_bytes is None else None,
                specific_tags=[*wanted],
            )
            return Elements(meta, found, syntax)
    except RecursionError as error:
        raise DamagedFileError("its sequences are nested too deeply") from error


def _read_guessed(handle: BinaryIO, meta: Dataset, syntax: str, wanted: list[BaseTag], header: bool) -> Elements:
    """A private transfer syntax, or none, which pydicom tries to guess."""
    handle.seek(0)
    found = dcmread(cast("BinaryIO", _Bounded(handle)), stop_before_pixels=header, specific_tags=wanted, force=True)
    implicit, little = found.original_encoding
    guessed = BIG_ENDIAN if little is False else IMPLICIT if implicit else EXPLICIT
    return Elements(meta, found, syntax or guessed)


def file_meta(path: Path) -> tuple[str, str]:
    """The class of the object in a file and the transfer syntax; "" for what the meta information does not state.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        with path.open("rb") as handle:
            meta = _read_meta(cast("BinaryIO", _Bounded(handle)))
        return text_of(meta, SOP_CLASS), text_of(meta, SYNTAX)
    except OSError:
        raise
    except Exception:  # no meta information, or a damaged one, which reading the file will explain
        return "", ""


def _read_meta(handle: BinaryIO) -> Dataset:
    """The meta information (PS3.10 7.1): always explicit little endian, and about nothing but the file."""
    read_preamble(handle, force=True)
    return read_dataset(handle, False, True, stop_when=lambda tag, vr, length: tag >> 16 != _META_GROUP)


def _is_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) in map(int, PIXELS)


def _raw(found: Dataset, tag: BaseTag) -> tuple[bytes, bool]:
    """The bytes of a value, and whether they are little endian."""
    if tag not in found:
        return b"", True
    element = found.get_item(tag)
    value = element.value
    little = bool(getattr(element, "is_little_endian", True))
    return (value if isinstance(value, bytes) else str(value or "").encode()), little


def text_of(found: Dataset, tag: BaseTag) -> str:
    """A text; "" if it is not there."""
    value = _raw(found, tag)[0].strip(b"\0 ")
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def integer_of(found: Dataset, tag: BaseTag) -> int:
    """A number of 16 bits without a sign; 0 if it is not there."""
    value, little = _raw(found, tag)
    return int.from_bytes(value[:2], "little" if little else "big")


def numbers_of(found: Dataset, tag: BaseTag, count: int) -> tuple[float, ...] | None:
    """The numbers that a text lists, among them NaN and infinity; None if it is not there, or empty.

    Raises:
        DamagedFileError: It lists others, or not so many.
    """
    text = text_of(found, tag)
    if not text:
        return None
    try:
        values = tuple(map(float, text.split("\\")))
    except ValueError:
        values = ()
    if len(values) != count:
        expected = "a number" if count == 1 else f"{count} numbers"
        raise DamagedFileError(f"the value of {keyword_for_tag(tag)} is not {expected}")
    return values
