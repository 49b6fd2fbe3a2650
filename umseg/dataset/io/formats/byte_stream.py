"""The content of a file that may be compressed, read once from its beginning in little memory."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import TracebackType

from isal import isal_zlib

from umseg.dataset.io.formats.damage import INFLATE_ERROR
from umseg.dataset.io.source import DamagedFileError

_MAGIC = b"\x1f\x8b"
_GZIP = 31
_BLOCK = 1 << 18
_PIECE = 1 << 20


class ByteStream:
    """The bytes of a file, decompressed where the file is gzip, whatever its name says.

    A gzip file may have several members, as bgzip and ``cat`` make them; zeros behind a member are padding. Checksums
    are verified by :meth:`finish`.

    Attributes:
        packed: Whether the file is gzip.
        position: Bytes that were read or skipped so far.
        trailing: Bytes behind the last gzip member that are no gzip, known once the end was reached.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.packed = self._file.peek(len(_MAGIC))[: len(_MAGIC)] == _MAGIC
        self.position = 0
        self.trailing = 0
        self._member = isal_zlib.decompressobj(_GZIP)
        self._pending = b""

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end.

        Raises:
            DamagedFileError: The compressed data are damaged or end too early.
        """
        content = bytearray(size)
        return bytes(content[: self.readinto(content)])

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer; returns the number of bytes, which is smaller than the buffer only at the end.

        Raises:
            DamagedFileError: As in :meth:`read`.
        """
        target, filled = memoryview(buffer).cast("B"), 0
        while filled < len(target):
            if self.packed:
                piece = self._inflate(min(len(target) - filled, _PIECE))
                count = len(piece)
                target[filled : filled + count] = piece
            else:
                count = self._file.readinto(target[filled:])
            if not count:
                break
            filled += count
        self.position += filled
        return filled

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go forward to an offset from the beginning, or to the end if that comes before it.

        Raises:
            DamagedFileError: As in :meth:`read`.
            io.UnsupportedOperation: The offset lies behind, which a stream cannot return to.
        """
        if whence != io.SEEK_SET or offset < self.position:
            raise io.UnsupportedOperation("a stream only goes forward")
        while self.position < offset and self.read(min(offset - self.position, _PIECE)):
            pass
        return self.position

    def finish(self, most: int) -> bool:
        """Read to the end, which verifies the checksums of a gzip file, or ``most`` bytes further.

        Returns:
            Whether the end was reached.

        Raises:
            DamagedFileError: A checksum is wrong, or the compressed data end too early.
        """
        self.seek(self.position + most)
        return not self.read(1)

    def _inflate(self, most: int) -> bytes:
        """The next bytes of the content, at most so many; b"" at the end."""
        while not self._member.eof or self._next_member():
            try:
                piece: bytes = self._member.decompress(self._pending, most)
            except INFLATE_ERROR as error:
                raise DamagedFileError(str(error)) from error
            self._pending = self._member.unconsumed_tail
            if piece:
                return piece
            if not self._pending and not self._member.eof:
                self._pending = self._file.read(_BLOCK)
                if not self._pending:
                    raise DamagedFileError("the compressed data end too early")
        return b""

    def _next_member(self) -> bool:
        """Begin with the gzip member that follows; False at the end, where ``trailing`` is set."""
        rest = self._member.unused_data.lstrip(b"\0")
        while len(rest) < len(_MAGIC):
            block = self._file.read(_BLOCK)
            if not block:
                break
            rest = (rest + block).lstrip(b"\0")
        if rest[: len(_MAGIC)] == _MAGIC:
            self._member, self._pending = isal_zlib.decompressobj(_GZIP), rest
            return True
        self.trailing = self.trailing or len(rest) + os.fstat(self._file.fileno()).st_size - self._file.tell()
        return False
