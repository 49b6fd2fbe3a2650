"""The array library that resampling computes with: numpy here, torch in ``tensors.py``.

Most functions have the same names and arguments in both libraries; this interface covers the differences. Preprocessing
needs no torch, whose import would cost every worker process 2 seconds and 180 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = Any
"""An array of either library."""

AnyArray = TypeVar("AnyArray", NDArray[Any], "Tensor")


class Arrays(Protocol):
    """An array library with a device and a number format; objects for the same ones compare equal."""

    def __hash__(self) -> int: ...

    @property
    def library(self) -> Any:
        """numpy or torch."""

    @property
    def dtype(self) -> Any:
        """The number format of results."""

    @property
    def slab_voxels(self) -> int:
        """The number of voxels in temporary arrays: few enough for the caches of a CPU, or enough to fill a GPU."""

    @property
    def product_size(self) -> int:
        """The most multiplications of one matrix product."""

    def double(self) -> Arrays:
        """The same library and device in double precision, if the device supports it."""

    def load(self, array: Array) -> Array:
        """A contiguous array of this library, device and format: a new one or the given one."""

    def empty(self, shape: Sequence[int]) -> Array:
        """An uninitialised array for results."""


@dataclass(frozen=True)
class NumpyArrays:
    """numpy, on the CPU; see ``Arrays``."""

    dtype: type[np.floating]
    library: ClassVar[Any] = np
    slab_voxels: ClassVar[int] = 2**19
    # OpenBLAS divides larger products among threads that wait for each other, thousands of times per volume: on cores
    # that had other work too, this took up to 10 times as long.
    product_size: ClassVar[int] = 2**19 - 1

    def double(self) -> NumpyArrays:
        """As in ``Arrays``."""
        return NumpyArrays(np.float64)

    def load(self, array: NDArray[Any]) -> NDArray[Any]:
        """As in ``Arrays``."""
        return np.ascontiguousarray(array, dtype=self.dtype)

    def empty(self, shape: Sequence[int]) -> NDArray[Any]:
        """As in ``Arrays``."""
        return np.empty(shape, dtype=self.dtype)
