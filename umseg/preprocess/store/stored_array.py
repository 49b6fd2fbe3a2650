"""An array of a preprocessed case while its file is open: what is wrong with the file is said by its name."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError

REMEDY = "Run `umseg plan` again; it preprocesses this case again and keeps the others."


class LazyArray(Protocol):
    """An array on disk; indexing it with slices reads only the blocks concerned and gives a numpy array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type in which the values are stored."""

    def __getitem__(self, key: Any) -> NDArray[Any]: ...


@dataclass(frozen=True)
class StoredArray:
    """An open array, and the file that it is read from; half precision is read as single precision.

    Attributes:
        path: The file.
        status: The file's state when it was opened.
        array: The open array.
    """

    path: Path
    status: os.stat_result
    array: LazyArray

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type in which values are read."""
        return np.dtype(np.float32) if self.array.dtype == np.float16 else self.array.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        self._check_size()
        try:
            return self.array[key].astype(self.dtype, copy=False)
        except RuntimeError as error:
            # Only where nobody has verified the checksums.
            raise damaged(self.path, str(error), "blocks that can be decompressed") from error

    def _check_size(self) -> None:
        """Refuse a file that was cut meanwhile: reading beyond the end of a mapped file kills the process.

        A file that was replaced or removed stays whole for whoever has it open.
        """
        with contextlib.suppress(FileNotFoundError):
            now = os.stat(self.path)  # noqa: PTH116 - called for every patch
            if now.st_ino == self.status.st_ino and now.st_size < self.status.st_size:
                found = f"{now.st_size:,} bytes, which were {self.status.st_size:,} when training began"
                raise damaged(self.path, found, "a file that nobody changes")


def damaged(path: Path, found: str, expected: str) -> UserError:
    """The error for a damaged file of a preprocessed case."""
    return UserError(
        "A file of a preprocessed case is damaged.", file=path, found=found, expected=expected, remedy=REMEDY
    )
