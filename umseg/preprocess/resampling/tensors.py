"""The array library of resampling with torch, on the device that holds the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Per voxel of a slab: three arrays in double precision, three in single precision, a label and its update, and as much
# again for the copies that products make of their operands.
_BYTES_PER_VOXEL = 80
# Memory that the library of matrix products reserves.
_WORKSPACE_BYTES = 2**26


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

    def to_host(self, array: Tensor) -> NDArray[Any]:
        """As in ``Arrays``."""
        host: NDArray[Any] = array.cpu().numpy()
        return host


def has_room(device: torch.device, voxels: int) -> bool:
    """Whether a device has enough free memory for slabs of this many voxels; only that of CUDA devices is limited."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    memory: dict[str, int] = torch.cuda.memory_stats(device)
    # torch keeps freed memory, but the free pieces of a block that is partly in use may be too small.
    kept = memory["reserved_bytes.all.current"] - memory["active_bytes.all.current"]
    kept -= memory["inactive_split_bytes.all.current"]
    return free + kept >= voxels * _BYTES_PER_VOXEL + _WORKSPACE_BYTES
