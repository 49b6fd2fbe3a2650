"""A zip archive that nobody has checked: every file in it is looked at before one is read.

Weights are stored as they are and the files of JSON are small, so that what is unpacked is hardly larger than the
archive itself. Files fill the archive from its first byte to the list of their names: none overlaps another one, and
nothing is hidden between them.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from umseg.common.errors import UserError
from umseg.common.files import open_regular
from umseg.inference.bundle.directory import find_directory
from umseg.inference.bundle.manifest import MANIFEST, MOST_FILES, is_known_path
from umseg.workspace import BEST_CHOICE, CARD, METRICS, POSTPROCESSING

REMEDY = "Get the file again from where it comes, or make it again with `umseg export MODEL FILE.umseg`."
MOST_TEXT_BYTES = {MANIFEST: 2**24, CARD: 2**23, POSTPROCESSING: 2**16, METRICS: 2**26, BEST_CHOICE: 2**23}
"""Largest size of each kind of JSON file."""
MOST_TEXT_TOTAL = 2**28
"""Most bytes of all files of JSON together."""
CHUNK = 2**20

_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_MARK = b"PK\x03\x04"
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_USUAL_FLAGS = 0x6 | 0x800
"""How hard the writer tried to compress, and that names are in UTF-8."""
_DOS_FOLDER = 0x10
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError, struct.error)
"""What the standard library raises where an archive is damaged."""


class Archive:
    """An archive whose list of files has been checked; made by ``open_archive``.

    Attributes:
        path: Its file.
        sizes: Every file in it, and its bytes.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, files: Mapping[str, zipfile.ZipInfo]) -> None:
        self.path = path
        self._archive = archive
        self._files = files
        self.sizes = {name: info.file_size for name, info in files.items()}

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file, piece by piece.

        Raises:
            UserError: It is damaged, or shorter or longer than announced.
        """
        info = self._files[name]
        left = info.file_size
        with explained(self.path), self._archive.open(info) as file:
            # The library reads as many bytes as are announced, and then compares a checksum.
            while chunk := file.read(CHUNK):
                left -= len(chunk)
                yield chunk
        if left:
            raise damaged(self.path, f"{name} lacks {left:,} bytes")

    def text(self, name: str) -> str:
        """The content of a file of JSON.

        Raises:
            UserError: It is damaged or no text.
        """
        content = b"".join(self.chunks(name))
        with explained(self.path):
            return content.decode("utf-8")


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive and check its list of files.

    Raises:
        UserError: The file is missing, is no archive, or could be no bundle.
    """
    path = Path(path)
    try:
        file = open_regular(path, remedy=REMEDY)
    except FileNotFoundError as error:
        raise UserError(f"{path.name} does not exist.", file=path, remedy="Correct the name of the file.") from error
    except OSError as error:
        raise UserError(f"{path.name} cannot be read.", file=path, found=error.strerror or str(error)) from error
    with file:
        with explained(path):
            directory = find_directory(file, MOST_FILES)
            archive = zipfile.ZipFile(file)
            files = archive.infolist()
            if len(files) != directory.count:
                raise ValueError(f"a list of {len(files):,} files where {directory.count:,} are announced")
            _check_files(files)
            _check_places(file, files, directory.start)
        with archive:
            yield Archive(path, archive, {info.filename: info for info in files})


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what is raised for a damaged archive into an error for the user."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path.name} cannot be read.", file=path, found=error.strerror or str(error), remedy=REMEDY
        ) from error
    except _DAMAGE as error:
        raise damaged(path, str(error) or type(error).__name__) from error


def damaged(path: Path, found: str, expected: str | None = None) -> UserError:
    """The error for a file that is no valid bundle."""
    return UserError(
        f"{path.name} is damaged, or it is no bundle of umseg.",
        file=path,
        found=found[:300],
        expected=expected,
        remedy=REMEDY,
    )


def inside(error: UserError, path: Path) -> UserError:
    """An error about an unpacked file as one about its bundle, which is the file that the user has."""
    return UserError(error.problem, file=path, found=error.found, expected=error.expected, remedy=REMEDY)


def _check_files(files: list[zipfile.ZipInfo]) -> None:
    """Refuse names, kinds and sizes that no bundle has.

    Raises:
        ValueError: A file is refused; the message says why.
    """
    if not files or files[0].filename != MANIFEST:
        raise ValueError(f"an archive whose first file is not {MANIFEST}")
    names = set()
    texts = 0
    for info in files:
        # The library shortens a name at a null character.
        name, shown = info.filename, ascii(info.orig_filename)[:100]
        if info.orig_filename != name or (name != MANIFEST and not is_known_path(name)):
            raise ValueError(f"a file of the name {shown}, which no bundle holds")
        if name in names:
            raise ValueError(f"two files of the name {shown}")
        names.add(name)
        _check_kind(info, shown)
        most = MOST_TEXT_BYTES.get(name.rpartition("/")[2])
        if most is not None:
            texts += info.file_size
            if info.file_size > most:
                raise ValueError(f"{shown} of {info.file_size:,} bytes; at most {most:,} are read")
        elif info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{shown} that is compressed; weights are stored as they are")
        if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
            raise ValueError(f"{shown} of {info.file_size:,} bytes in a place of {info.compress_size:,}")
    if texts > MOST_TEXT_TOTAL:
        raise ValueError(f"files of JSON with {texts:,} bytes; at most {MOST_TEXT_TOTAL:,} are read")


def _check_kind(info: zipfile.ZipInfo, shown: str) -> None:
    """Refuse encrypted files, unknown compression, links, folders and devices.

    Raises:
        ValueError: The file is refused.
    """
    if info.flag_bits & _ENCRYPTED:
        raise ValueError(f"{shown} that is encrypted")
    if info.flag_bits & ~_USUAL_FLAGS:
        raise ValueError(f"{shown} with the flags {info.flag_bits:#x}")
    if info.compress_type not in _METHODS:
        raise ValueError(f"{shown} in the compression {info.compress_type}; known are {', '.join(_METHODS.values())}")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG) or info.external_attr & _DOS_FOLDER:
        raise ValueError(f"{shown} that is a link, a folder or a device")


def _check_places(file: BinaryIO, files: list[zipfile.ZipInfo], end: int) -> None:
    """Require files that follow each other from the first byte of the archive to the list of their names.

    Raises:
        ValueError: A file overlaps another one, or there is something else between them.
    """
    place = 0
    for info in sorted(files, key=lambda each: each.header_offset):
        if info.header_offset != place:
            raise ValueError(f"{info.filename} at byte {info.header_offset:,} where {place:,} was expected")
        file.seek(place)
        header = file.read(_LOCAL.size)
        if len(header) < _LOCAL.size:
            raise ValueError(f"{info.filename} behind the end of the archive")
        mark, *_, name_bytes, extra_bytes = _LOCAL.unpack(header)
        if mark != _LOCAL_MARK:
            raise ValueError(f"{info.filename} without its beginning")
        place += _LOCAL.size + name_bytes + extra_bytes + info.compress_size
    if place != end:
        raise ValueError(f"files that end at byte {place:,} where {end:,} was expected")
