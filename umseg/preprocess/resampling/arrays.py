"""The array library that resampling computes with: numpy here, torch in ``tensors.py``.

Both know most functions by the same names and arguments; what differs is said here. Preparing images needs no torch,
whose import would cost every worker process 2 seconds and 180 MB.
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
    """Where and in which number format to compute; equal ones compare equal."""

    def __hash__(self) -> int: ...

    @property
    def library(self) -> Any:
        """numpy or torch."""

    @property
    def dtype(self) -> Any:
        """Number format."""

    @property
    def slab_voxels(self) -> int:
        """Voxels of temporary arrays: few enough for the caches of a CPU, or enough to fill a GPU."""

    @property
    def product_size(self) -> int:
        """The most multiplications of one matrix product."""

    def double(self) -> Arrays:
        """The same in double precision, if the device has it."""

    def load(self, array: Array) -> Array:
        """A contiguous array to compute with; maybe the given one."""

    def empty(self, shape: Sequence[int]) -> Array:
        """To write results to."""

    def to_host(self, array: Array) -> NDArray[Any]:
        """As an array of numpy; maybe the given one."""


@dataclass(frozen=True)
class NumpyArrays:
    """numpy, on the CPU; see ``Arrays``."""

    dtype: type[np.floating]
    library: ClassVar[Any] = np
    slab_voxels: ClassVar[int] = 2**19
    # OpenBLAS shares larger products among threads that wait for each other, thousands of times a volume: on cores that
    # had other work too, it took up to 10 times as long.
    product_size: ClassVar[int] = 2**19 - 1

    def double(self) -> NumpyArrays:
        return NumpyArrays(np.float64)

    def load(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(array, dtype=self.dtype)

    def empty(self, shape: Sequence[int]) -> NDArray[Any]:
        return np.empty(shape, dtype=self.dtype)

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        return array
