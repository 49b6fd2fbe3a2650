"""The array library of resampling with torch, on the device that holds the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class TorchArrays:
    """torch on a device; see ``umseg.preprocess.resampling.arrays.Arrays``."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    library: ClassVar[Any] = torch
    slab_voxels: ClassVar[int] = 2**22
    product_size: ClassVar[int] = 2**62

    def double(self) -> TorchArrays:
        """The same in double precision; on Apple's GPUs, which do not support it, in single precision."""
        return self if self.device.type == "mps" else TorchArrays(self.device, torch.float64)

    def load(self, array: Tensor | NDArray[Any]) -> Tensor:
        """As in ``Arrays``."""
        tensor = torch.tensor(array, dtype=self.dtype) if isinstance(array, np.ndarray) else array
        # Converted on the device, so that fewer bytes are copied.
        return tensor.to(self.device).to(self.dtype).contiguous()

    def empty(self, shape: Sequence[int]) -> Tensor:
        """As in ``Arrays``."""
        return torch.empty(tuple(shape), dtype=self.dtype, device=self.device)
