"""The blocks that the CPU kernels divide a sequence into; a module without numba, for code that only needs shapes."""

from __future__ import annotations

# Number of channels that are processed together: the lanes of a vector.
LANES = 16
# Number of tokens between two kept states, and of tokens of a tile; a multiple of LANES.
CHUNK = 32


def ceil_div(a: int, b: int) -> int:
    """The number of pieces of size ``b`` that hold ``a`` items; also right for symbolic integers."""
    return -(-a // b)
