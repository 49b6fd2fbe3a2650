"""Preprocessed cases on disk: compressed arrays of which a training patch reads only what it touches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import blosc2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.preprocess.case import CaseProperties, PreprocessedCase

REMEDY = "Run umseg plan again."

_PROPERTIES = ".json"
_DATA = ".data.b2nd"
_LABEL = ".label.b2nd"
_LOCATIONS = ".locations.safetensors"

# What is decompressed at once, and what is stored contiguously. Small blocks waste little at a patch's faces.
_BLOCK_BYTES = 2**16
_CHUNK_BYTES = 2**22
_DEFAULT_PATCH = (64, 64, 64)


class LazyArray(Protocol):
    """An array on disk; indexing it with slices gives a numpy array and reads only the blocks concerned."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, key: Any) -> NDArray[Any]: ...


@dataclass(frozen=True)
class StoredCase:
    """A preprocessed case, its arrays still on disk. Open it in the process that uses it.

    Attributes:
        data: (channels, z, y, x) float32.
        label: (z, y, x) int8 or int16; None if the case was stored without.
        class_locations: Class to (n, 3) int32 coordinates in ``label``.
        properties: The way back.
    """

    data: LazyArray
    label: LazyArray | None
    class_locations: dict[int, NDArray[np.int32]]
    properties: CaseProperties


@dataclass(frozen=True)
class CaseStore:
    """The preprocessed cases of one configuration in one folder.

    A case is there when its ``CASE.json`` is: that file is written last and removed first. The store holds only its
    path, so it may be sent to other processes.

    Attributes:
        folder: Where the files are.
        threads: Threads that decompress an array; more than one only helps a process that has cores to spare.
    """

    folder: Path
    threads: int = 1

    def case_ids(self) -> tuple[str, ...]:
        """The ids of all complete cases, sorted.

        Raises:
            UserError: The folder does not exist.
        """
        if not self.folder.is_dir():
            raise UserError("There are no preprocessed cases.", file=self.folder, found="no folder", remedy=REMEDY)
        files = (path.name for path in self.folder.glob(f"*{_PROPERTIES}") if not path.name.startswith("."))
        return tuple(sorted(name.removesuffix(_PROPERTIES) for name in files))

    def write(self, case_id: str, case: PreprocessedCase, patch_size: Sequence[int] = _DEFAULT_PATCH) -> None:
        """Write one case, replacing an older one.

        Args:
            case_id: Name of the case.
            case: What to write.
            patch_size: What training will read at once, 3 or 2 axes; it decides the layout on disk only.

        Raises:
            UserError: The disk is full or the folder cannot be written.
        """
        properties = self._path(case_id, _PROPERTIES)
        properties.unlink(missing_ok=True)
        self._write(case_id, _DATA, _compress(case.data, patch_size))
        if case.label is None:
            self._path(case_id, _LABEL).unlink(missing_ok=True)
        else:
            self._write(case_id, _LABEL, _compress(case.label, patch_size))
        tensors = {str(value): np.ascontiguousarray(found) for value, found in case.class_locations.items()}
        self._write(case_id, _LOCATIONS, save_tensors(tensors))
        case.properties.save(properties)

    def open(self, case_id: str) -> StoredCase:
        """Open one case without reading its arrays.

        Raises:
            UserError: A file is missing or damaged.
        """
        properties = CaseProperties.load(self._path(case_id, _PROPERTIES), REMEDY)
        data = self._open(case_id, _DATA)
        label = self._open(case_id, _LABEL) if self._path(case_id, _LABEL).exists() else None
        locations = self._load_locations(case_id)
        if locations and label is None:
            raise _missing(self._path(case_id, _LABEL))
        return StoredCase(data, label, locations, properties)

    def _path(self, case_id: str, ending: str) -> Path:
        return self.folder / f"{case_id}{ending}"

    def _write(self, case_id: str, ending: str, content: bytes) -> None:
        with atomic_path(self._path(case_id, ending)) as temporary:
            temporary.write_bytes(content)

    def _open(self, case_id: str, ending: str) -> LazyArray:
        path = self._path(case_id, ending)
        try:
            array: LazyArray = blosc2.open(str(path), mode="r", dparams={"nthreads": self.threads})
        except FileNotFoundError as error:
            raise _missing(path) from error
        except (RuntimeError, ValueError) as error:
            raise _damaged(path) from error
        return array

    def _load_locations(self, case_id: str) -> dict[int, NDArray[np.int32]]:
        path = self._path(case_id, _LOCATIONS)
        try:
            found = {int(value): locations for value, locations in load_tensors(path.read_bytes()).items()}
        except FileNotFoundError as error:
            raise _missing(path) from error
        except (SafetensorError, ValueError) as error:
            raise _damaged(path) from error
        # The reader's order varies from run to run; draws among classes must not.
        return dict(sorted(found.items()))


def _compress(array: NDArray[Any], patch_size: Sequence[int]) -> bytes:
    """The bytes of a blosc2 frame; written by us, so that a full disk is noticed like everywhere else."""
    chunks, blocks = layout(array.shape, patch_size, array.dtype.itemsize)
    # Labels are mostly constant: a stronger codec shrinks them to little for no time.
    codec, level = (blosc2.Codec.ZSTD, 1) if array.dtype.kind == "i" else (blosc2.Codec.LZ4, 5)
    compressed = blosc2.asarray(
        np.ascontiguousarray(array),
        chunks=chunks,
        blocks=blocks,
        cparams={"codec": codec, "clevel": level, "nthreads": 1},
    )
    frame: bytes = compressed.to_cframe()
    return frame


def layout(shape: Sequence[int], patch_size: Sequence[int], itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Chunks and blocks for reading patches out of an array.

    Args:
        shape: (channels, z, y, x) or (z, y, x).
        patch_size: What is read at once, per axis; two axes mean single slices.
        itemsize: Bytes per voxel.

    Returns:
        The shapes of chunks (all channels, at most a patch) and of blocks (one channel).
    """
    patch = (1,) * (3 - len(patch_size)) + tuple(patch_size)
    spatial, channels = tuple(shape[-3:]), tuple(shape[:-3])
    chunk = tuple(min(pair) for pair in zip(spatial, patch, strict=True))
    chunk = _halve(chunk, _CHUNK_BYTES // (itemsize * math.prod(channels)))
    return channels + chunk, (1,) * len(channels) + _halve(chunk, _BLOCK_BYTES // itemsize)


def _halve(shape: tuple[int, ...], most_voxels: int) -> tuple[int, ...]:
    sides = list(shape)
    while math.prod(sides) > max(most_voxels, 1):
        longest = sides.index(max(sides))
        sides[longest] = -(-sides[longest] // 2)
    return tuple(sides)


def _missing(path: Path) -> UserError:
    return UserError("A file of a preprocessed case is missing.", file=path, found="no such file", remedy=REMEDY)


def _damaged(path: Path) -> UserError:
    return UserError(
        "A file of a preprocessed case is damaged.",
        file=path,
        found=f"{path.stat().st_size} bytes that cannot be read",
        remedy=REMEDY,
    )
