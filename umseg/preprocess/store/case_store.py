"""Preprocessed cases on disk: compressed arrays of which a training patch reads only the blocks it touches."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from umseg.common.errors import UserError
from umseg.common.files import atomic_path, open_regular, remove_leftovers
from umseg.common.processes.parallel import map_cases
from umseg.common.record import Record
from umseg.common.tensor_header import read_header
from umseg.common.text import by, few
from umseg.preprocess.case import CaseProperties, PreprocessedCase
from umseg.preprocess.store.frame import open_array
from umseg.preprocess.store.layout import compress
from umseg.preprocess.store.provenance import Origin
from umseg.preprocess.store.stored_array import REMEDY, LazyArray, StoredArray, damaged

StoreDtype = Literal["float32", "float16"]
OpenedT = TypeVar("OpenedT")

log = logging.getLogger(__name__)

_RECORD = ".json"
_DATA = ".data.b2nd"
_LABEL = ".label.b2nd"
_LOCATIONS = ".locations.safetensors"
_ARRAYS = (_DATA, _LABEL, _LOCATIONS)

_LABEL_DTYPES = ("int8", "int16")
_DEFAULT_PATCH = (64, 64, 64)
_BLOCK = 1 << 20


def as_store_dtype(name: str) -> StoreDtype:
    """Check the name of a type that the user gave.

    Raises:
        UserError: There is no such type.
    """
    if name in get_args(StoreDtype):
        return cast("StoreDtype", name)
    raise UserError(
        "Images cannot be stored in this type.",
        found=name,
        expected=" or ".join(get_args(StoreDtype)),
        remedy="Choose one of these types with --store-dtype.",
    )


@dataclass(frozen=True)
class StoredCase:
    """A preprocessed case whose arrays are still on disk. It must be opened in the process that uses it.

    Attributes:
        data: (channels, z, y, x); read as float32, whatever type it is stored in.
        label: (z, y, x) int8 or int16; None if the case was stored without a label map.
        class_locations: Class to (n, 3) int32 coordinates in ``label``.
        properties: Geometry of the case, to bring predictions back to the original voxels.
    """

    data: LazyArray
    label: LazyArray | None
    class_locations: dict[int, NDArray[np.int32]]
    properties: CaseProperties


class CaseRecord(Record):
    """``CASE.json``: the record of a stored case.

    Attributes:
        origin: Origin of the case.
        dtype: Type in which the image is stored.
        checksums: Ending of each other file of the case (the part after the case's id) to its CRC-32, eight hexadecimal
            digits.
        properties: Geometry of the case, to bring predictions back to the original voxels.
    """

    schema_version: Literal[2] = 2
    origin: Origin
    dtype: StoreDtype
    checksums: dict[str, str]
    properties: CaseProperties

    @field_validator("checksums")
    @classmethod
    def _of_every_file(cls, checksums: dict[str, str]) -> dict[str, str]:
        if not {_DATA, _LOCATIONS} <= checksums.keys() <= set(_ARRAYS):
            raise ValueError(f"the checksums of {_DATA}, {_LOCATIONS} and, if there is one, {_LABEL}")
        if not all(re.fullmatch("[0-9a-f]{8}", checksum) for checksum in checksums.values()):
            raise ValueError("eight hexadecimal digits for each file")
        return checksums


@dataclass(frozen=True)
class CaseStore:
    """The preprocessed cases of one configuration in one folder.

    A case is complete if its ``CASE.json`` exists: that file is written last and removed first. Files appear whole even
    if a process is killed; checksums show damage by a power cut. The store holds no open file, so it may be sent to
    other processes.

    Attributes:
        folder: Folder of the files.
        threads: Number of threads that decompress an array; more than one only helps a process that has idle cores.
    """

    folder: Path
    threads: int = 1

    def case_ids(self) -> tuple[str, ...]:
        """The ids of all complete cases, sorted.

        Raises:
            UserError: The folder does not exist.
        """
        if not self.folder.is_dir():
            raise UserError(
                "There are no preprocessed cases.",
                file=self.folder,
                found="no folder",
                remedy="Run `umseg plan` again.",
            )
        return self._with(_RECORD)

    def record(self, case_id: str) -> CaseRecord:
        """The record of a case: its origin and how it is stored.

        Raises:
            UserError: The case does not exist, or its record is damaged or of another version.
        """
        return CaseRecord.load(self._path(case_id, _RECORD), REMEDY)

    def write(
        self,
        case_id: str,
        case: PreprocessedCase,
        origin: Origin,
        patch_size: Sequence[int] = _DEFAULT_PATCH,
        dtype: StoreDtype = "float32",
    ) -> None:
        """Write one case, replacing an older one. Equal cases give equal bytes.

        Args:
            case_id: Name of the case.
            case: The case.
            origin: Origin of the case, for ``prune``.
            patch_size: Size of the patches that training will read, 3 or 2 axes; it only decides the layout on disk.
            dtype: Type of the image on disk. float16 takes half the space and rounds to 11 binary digits.

        Raises:
            UserError: The disk is full, the folder cannot be written, or values do not fit half precision.
        """
        if dtype == "float16":
            _check_half(case_id, case.data)
        self._remove(case_id)
        try:
            checksums = {_DATA: self._write(case_id, _DATA, compress(case.data.astype(dtype, copy=False), patch_size))}
            if case.label is not None:
                checksums[_LABEL] = self._write(case_id, _LABEL, compress(case.label, patch_size))
            tensors = {str(value): np.ascontiguousarray(found) for value, found in case.class_locations.items()}
            checksums[_LOCATIONS] = self._write(case_id, _LOCATIONS, save_tensors(tensors))
            record = CaseRecord(origin=origin, dtype=dtype, checksums=checksums, properties=case.properties)
            self._write(case_id, _RECORD, record.to_json().encode())
        except BaseException:
            # On a full disk the files written so far take space that is needed elsewhere.
            with contextlib.suppress(UserError):
                self._remove(case_id)
            raise

    def open(self, case_id: str) -> StoredCase:
        """Open one case without reading its arrays, so that only ``verify`` finds damage inside them.

        Raises:
            UserError: A file is missing or damaged.
        """
        record = self.record(case_id)
        shape = record.properties.shape_after_resampling
        data = self._open(case_id, _DATA, (record.dtype,), shape)
        label = self._open(case_id, _LABEL, _LABEL_DTYPES, shape) if _LABEL in record.checksums else None
        return StoredCase(
            data,
            label,
            self._read(case_id, _LOCATIONS, partial(_load_locations, shape=shape)),
            record.properties,
        )

    def verify(self, case_ids: Collection[str], quiet: bool = False) -> None:
        """Read all files of the cases and compare their checksums.

        Raises:
            UserError: The folder or some of the cases are missing, or a file of a case is missing or damaged.
        """
        missing = sorted(set(case_ids) - set(self.case_ids()))
        if missing:
            raise UserError(
                "Some cases are not preprocessed.",
                file=self.folder,
                found=f"{len(missing)} of {len(case_ids)} missing: {few(missing)}",
                remedy="Run `umseg plan` again; it continues where it stopped.",
            )
        for error in self.damage(case_ids, quiet).values():
            raise error

    def damage(self, case_ids: Collection[str], quiet: bool = False) -> dict[str, UserError]:
        """The error of each case of which a file is missing, has another checksum, or is not what it should be."""
        # In this process, as checksums are computed faster than disks read.
        ids = list(case_ids)
        found = map_cases(self._damage, ids, ids, workers=0, title=f"Verifying {self.folder.name}", quiet=quiet)
        return {case_id: error for case_id, error in zip(ids, found, strict=True) if error is not None}

    def prune(self, required: Mapping[str, Origin], dtype: StoreDtype | None = None) -> list[str]:
        """Keep only complete cases that are required and have the right origin; remove the remains of killed runs.

        Args:
            required: Case id to the origin that the case must have.
            dtype: Type in which images must be stored; None: any.

        Returns:
            The complete cases that were removed.

        Raises:
            UserError: A file cannot be removed.
        """
        remove_leftovers(self.folder)
        complete = self._with(_RECORD)
        halves = {case_id for ending in _ARRAYS for case_id in self._with(ending)} - set(complete)
        stale = [case_id for case_id in complete if not self._is_current(case_id, required.get(case_id), dtype)]
        for case_id in (*halves, *stale):
            self._remove(case_id)
        return stale

    def keep(self, required: Mapping[str, Origin], dtype: StoreDtype, quiet: bool = False) -> tuple[str, ...]:
        """Remove cases as ``prune`` does and those that are damaged, and return the ids of the cases that are left.

        Raises:
            UserError: A file cannot be removed.
        """
        self.prune(required, dtype)
        complete = self._with(_RECORD)
        damage = self.damage(complete, quiet) if complete else {}
        for case_id, error in damage.items():
            log.warning("%s\nThe case is preprocessed again.", error)
            self._remove(case_id)
        return tuple(case_id for case_id in complete if case_id not in damage)

    def _is_current(self, case_id: str, origin: Origin | None, dtype: StoreDtype | None) -> bool:
        try:
            record = self.record(case_id)
        except UserError:
            return False
        return record.origin == origin and dtype in (None, record.dtype)

    def _damage(self, case_id: str) -> UserError | None:
        try:
            for ending, expected in self.record(case_id).checksums.items():
                path = self._path(case_id, ending)
                found = self._read(case_id, ending, _file_checksum)
                if found != expected:
                    return damaged(path, f"CRC-32 {found}", f"CRC-32 {expected}")
            # Whoever writes a case also writes its checksums.
            self.open(case_id)
        except UserError as error:
            return error
        return None

    def _remove(self, case_id: str) -> None:
        for ending in (_RECORD, *_ARRAYS):
            path = self._path(case_id, ending)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(
                    "A preprocessed case cannot be replaced.",
                    file=path,
                    found=error.strerror or str(error),
                    remedy="Check that you may write to the folder and that no training on these images is running.",
                ) from error

    def _with(self, ending: str) -> tuple[str, ...]:
        names = (path.name for path in self.folder.glob(f"*{ending}") if not path.name.startswith("."))
        return tuple(sorted(name.removesuffix(ending) for name in names))

    def _path(self, case_id: str, ending: str) -> Path:
        return self.folder / f"{case_id}{ending}"

    def _write(self, case_id: str, ending: str, content: bytes) -> str:
        with atomic_path(self._path(case_id, ending), needed=len(content), sync=False) as temporary:
            temporary.write_bytes(content)
        return _hex(zlib.crc32(content))

    def _open(self, case_id: str, ending: str, dtypes: Sequence[str], shape: tuple[int, int, int]) -> LazyArray:
        """Open an image (channels, *shape) or a label map (*shape) of one of these types."""
        # A mapped file is read faster, and an open array stays unchanged when its file is replaced. But Windows refuses
        # to replace files that are mapped.
        opened = partial(open_array, remedy=REMEDY, threads=self.threads, mapped=sys.platform != "win32")
        path = self._path(case_id, ending)
        array: LazyArray = self._read(case_id, ending, opened)
        axes = len(shape) + (ending == _DATA)
        if array.dtype.name not in dtypes or array.shape[-3:] != shape or len(array.shape) != axes:
            raise damaged(
                path,
                f"{by(array.shape)} values of the type {array.dtype}",
                f"{by(shape)} voxels{' per channel' if ending == _DATA else ''}, {' or '.join(dtypes)}",
            )
        return StoredArray(path, path.stat(), array)

    def _read(self, case_id: str, ending: str, read: Callable[[Path], OpenedT]) -> OpenedT:
        path = self._path(case_id, ending)
        try:
            return read(path)
        except FileNotFoundError as error:
            raise UserError(
                "A file of a preprocessed case is missing.", file=path, found="no such file", remedy=REMEDY
            ) from error
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise damaged(path, str(error) or type(error).__name__, "a readable file") from error


def _check_half(case_id: str, data: NDArray[np.float32]) -> None:
    limit = float(np.finfo(np.float16).max)
    # fmin and fmax ignore NaN.
    smallest, largest = float(np.fmin.reduce(data, axis=None)), float(np.fmax.reduce(data, axis=None))
    if smallest < -limit or largest > limit:
        raise UserError(
            f"The intensities of case {case_id} do not fit half precision.",
            found=f"values from {smallest:g} to {largest:g} after normalisation",
            expected=f"values from {-limit:g} to {limit:g}",
            remedy="Run `umseg plan` with --store-dtype float32, or rename the channel in dataset.json so that it is "
            "normalised (not noNorm).",
        )


def _load_locations(path: Path, shape: tuple[int, int, int]) -> dict[int, NDArray[np.int32]]:
    """The coordinates in an image of this shape, by class."""
    with open_regular(path, remedy=REMEDY) as file:
        for name, entry in read_header(file).tensors.items():
            if not re.fullmatch("[0-9]{1,5}", name) or entry.dtype != "I32" or entry.shape[1:] != (3,):
                raise ValueError(f"'{name[:20]}': {by(entry.shape)} numbers of the type {entry.dtype}")
        file.seek(0)
        found = {int(value): locations for value, locations in load_tensors(file.read()).items()}
    for value, locations in found.items():
        if locations.size and (locations.min() < 0 or (locations.max(axis=0) >= shape).any()):
            raise ValueError(f"coordinates of class {value} outside of {by(shape)} voxels")
    # The reader's order varies from run to run, but draws among classes must not.
    return dict(sorted(found.items()))


def _file_checksum(path: Path) -> str:
    checksum = 0
    with open_regular(path, remedy=REMEDY) as handle:
        while block := handle.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return _hex(checksum)


def _hex(checksum: int) -> str:
    return f"{checksum:08x}"
