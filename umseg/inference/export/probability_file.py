"""Files with the probabilities of a case: numpy's archives and NIfTI files, written a few planes at a time.

Probabilities come plane by plane and lie output by output in a file. They are written to a file of the final size that
is mapped into memory, a chunk at a time, so that memory does not grow with the image.
"""

# nibabel's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import errno
import io
import logging
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.common.memory import memory_text
from umseg.dataset.io.grid import Geometry
from umseg.inference.export.frame import Frame
from umseg.inference.export.probabilities import ProbabilityChunk
from umseg.inference.export.zip_entry import StoredEntry

log = logging.getLogger(__name__)

KEY = "probabilities"
_SCALE = np.iinfo(np.uint16).max
_PIECE = 2**24
_LONGEST_AXIS = np.iinfo(np.int16).max
_GZIP = 31  # the window of 32 kB, with the header and the checksum of gzip
_FAST = 1


def file_bytes(path: Path, outputs: int, frame: Frame) -> int:
    """Bytes that a file takes; of a compressed one, before it is compressed.

    Args:
        path: The file, whose ending is one of ``ENDINGS``.
        outputs: Number of outputs of the network.
        frame: Grid of the file.
    """
    return _Layout.of(path, outputs, frame).size


def write_probabilities(
    path: Path, chunks: Iterable[ProbabilityChunk], frame: Frame, outputs: int, *, regions: bool
) -> None:
    """Write the probabilities of a case, whole or not at all.

    Args:
        path: The file, whose ending is one of ``ENDINGS``.
        chunks: All chunks of the case: those of ``OutputGrid.of`` it with ``Frame.of_image``, or those of
            ``OutputGrid.same`` with ``Frame.of_network``.
        frame: Grid of the file.
        outputs: Number of outputs of the network.
        regions: Whether each output is a region by itself; otherwise voxels outside the nonzero region are background.

    Raises:
        UserError: There is not enough space on the disk, or the file cannot be written.
    """
    layout = _Layout.of(path, outputs, frame)
    _require_space(path, layout.size)
    log.debug("Writing %s: %s of probabilities.", path.name, memory_text(layout.size))
    with atomic_path(path, layout.size) as temporary:
        packed = path.name.lower().endswith(".gz")
        # The name of the file to be compressed marks it as temporary, too.
        raw = temporary.with_name(temporary.name + ".raw") if packed else temporary
        try:
            _allocate(raw, layout.size)
            if not regions and not frame.is_full:
                _fill_background(raw, layout)
            for chunk in chunks:
                _write_chunk(raw, layout, frame, chunk)
            layout.finish(raw)
            if packed:
                _compress(raw, temporary)
        finally:
            if packed:
                raw.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Layout:
    """What a file consists of: a head, numbers (outputs, z, y, x), and a tail.

    Attributes:
        shape: Shape of the numbers.
        dtype: Type of the numbers; whole numbers stand for 0..1.
        head: What stands before them; of an archive without its own head.
        entry: The entry of an archive.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    head: bytes
    entry: StoredEntry | None

    @classmethod
    def of(cls, path: Path, outputs: int, frame: Frame) -> _Layout:
        shape = (outputs, *frame.shape)
        if path.suffix.lower() != ".npz":
            return cls(shape, np.dtype("<u2"), _nifti_head(frame.geometry, outputs), None)
        head = io.BytesIO()
        dtype = np.dtype("<f2")
        description = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(head, description)
        content = len(head.getvalue()) + math.prod(shape) * dtype.itemsize
        return cls(shape, dtype, head.getvalue(), StoredEntry(f"{KEY}.npy", content))

    @property
    def start(self) -> int:
        """Where the content begins: the head, then the numbers."""
        return 0 if self.entry is None else self.entry.offset

    @property
    def size(self) -> int:
        """Bytes of the file."""
        content = len(self.head) + math.prod(self.shape) * self.dtype.itemsize
        return content if self.entry is None else self.entry.archive_size

    def numbers(self, path: Path) -> NDArray[Any]:
        """The numbers of a file, mapped into memory for writing."""
        return np.memmap(path, self.dtype, "r+", self.start + len(self.head), self.shape)

    def encoded(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Probabilities as numbers of the file."""
        if self.dtype.kind == "f":
            return values.astype(self.dtype)
        numbers: NDArray[Any] = np.rint(values * np.float32(_SCALE)).astype(self.dtype)
        return numbers

    def finish(self, path: Path) -> None:
        """Write what stands around the numbers, when these are complete."""
        with path.open("rb+") as file:
            file.seek(self.start)
            file.write(self.head)
            if self.entry is None:
                return
            file.seek(self.start)
            checksum, left = 0, self.entry.size
            while left:
                piece = file.read(min(_PIECE, left))
                checksum, left = isal_zlib.crc32(piece, checksum), left - len(piece)
            file.write(self.entry.tail(checksum))
            file.seek(0)
            file.write(self.entry.head(checksum))


def _nifti_head(geometry: Geometry, outputs: int) -> bytes:
    """The header of a 4-D file: x, y, z and outputs, numbers scaled to 0..1."""
    from umseg.dataset.io.formats.nifti.placement import label_header

    size = (*reversed(geometry.shape), outputs)
    header = label_header(geometry, max(size) > _LONGEST_AXIS)
    sizes = header["pixdim"][:4].copy()
    header.set_data_dtype(np.uint16)
    header.set_data_shape(size)
    header["pixdim"][:4] = sizes
    header.set_slope_inter(1 / _SCALE, 0)
    # No extensions; the voxels follow.
    head = bytes(header.binaryblock) + bytes(4)
    header["vox_offset"] = len(head)
    return bytes(header.binaryblock) + bytes(4)


def _write_chunk(path: Path, layout: _Layout, frame: Frame, chunk: ProbabilityChunk) -> None:
    # Pages of a mapped file count as memory of the process until it is closed.
    target = frame.part(layout.numbers(path))
    for plane, values in zip(range(chunk.planes.start, chunk.planes.stop), chunk.values.swapaxes(0, 1), strict=True):
        target[:, plane, chunk.rows] = layout.encoded(values)


def _fill_background(path: Path, layout: _Layout) -> None:
    """Write 1 for the background in the whole file, a few planes at a time."""
    _, depth, height, width = layout.shape
    one = layout.encoded(np.ones(1, np.float32))
    step = max(1, _PIECE // (height * width * layout.dtype.itemsize))
    for start in range(0, depth, step):
        layout.numbers(path)[0, start : start + step] = one


def _require_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(next(parent for parent in path.absolute().parents if parent.exists())).free
    if needed > free:
        raise UserError(
            "The probabilities of a case need more disk space than there is.",
            file=path,
            found=f"{memory_text(free)} free",
            expected=f"{memory_text(needed)} for this file",
            remedy="Free some space or choose another folder, or write them on the network's grid with "
            "--probability-grid model.",
        )


def _allocate(path: Path, size: int) -> None:
    """Make a file of zeros whose space on the disk is reserved.

    A mapped file without reserved space ends the process when the disk is full.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
        for start in range(0, size, _PIECE):
            file.write(bytes(min(_PIECE, size - start)))


def _compress(path: Path, target: Path) -> None:
    # No name and no time stamp: the same probabilities give the same file.
    packer = isal_zlib.compressobj(_FAST, isal_zlib.DEFLATED, _GZIP)
    with path.open("rb") as source, target.open("wb") as packed:
        while piece := source.read(_PIECE):
            packed.write(packer.compress(piece))
        packed.write(packer.flush())
