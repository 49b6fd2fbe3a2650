"""A zip archive of one uncompressed file, whose content is filled in place.

Python's own module writes a file from its beginning to its end, but probabilities come plane by plane and lie class by
class. Here the content lies at a known place in the archive, and its checksum is entered when it is complete. The
archive has the fields for files of more than 4 GB (zip64), as numpy writes and reads them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_VERSION = 45  # of the format, the first with zip64
_FIRST_DAY = 0x21  # 1980-01-01: the same content gives the same file
_IN_EXTRA = 0xFFFFFFFF  # a size that stands among the extra fields
_FILE_MODE = 0o600 << 16


@dataclass(frozen=True)
class StoredEntry:
    """The only file of an archive.

    Attributes:
        name: Name of the file in the archive.
        size: Bytes of the file.
    """

    name: str
    size: int

    @property
    def offset(self) -> int:
        """Place of the file's first byte in the archive."""
        return len(self.head(0))

    @property
    def archive_size(self) -> int:
        """Bytes of the archive."""
        return self.offset + self.size + len(self.tail(0))

    def head(self, checksum: int) -> bytes:
        """What stands before the content; ``checksum`` is its CRC-32."""
        return struct.pack("<4s2H", b"PK\x03\x04", _VERSION, 0) + self._description(checksum) + self._name_and_sizes

    def tail(self, checksum: int) -> bytes:
        """What stands behind the content: the table of contents and its end, in both forms."""
        entry = struct.pack("<4s3H", b"PK\x01\x02", _VERSION, _VERSION, 0) + self._description(checksum)
        # No comment, first disk, no attributes of the content; the entry stands at the beginning.
        entry += struct.pack("<3H2I", 0, 0, 0, _FILE_MODE, 0) + self._name_and_sizes
        place = self.offset + self.size
        end64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, _VERSION, _VERSION, 0, 0, 1, 1, len(entry), place)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, place + len(entry), 1)
        end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), _IN_EXTRA, 0)
        return entry + end64 + locator + end

    def _description(self, checksum: int) -> bytes:
        # Not compressed; midnight of the first day; sizes among the extra fields; lengths of name and extra fields.
        sizes = len(self._name_and_sizes) - len(self.name.encode())
        return struct.pack("<3H3I2H", 0, 0, _FIRST_DAY, checksum, _IN_EXTRA, _IN_EXTRA, len(self.name.encode()), sizes)

    @property
    def _name_and_sizes(self) -> bytes:
        return self.name.encode() + struct.pack("<2H2Q", 1, 16, self.size, self.size)
