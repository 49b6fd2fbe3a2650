"""How the CPU kernels cut a sequence; a module without numba, so that shapes can be told without it."""

from __future__ import annotations

# Channels that are worked on together: the lanes of a vector.
LANES = 16
# Tokens between two kept states, and tokens of a tile; a multiple of LANES.
CHUNK = 32


def ceil_div(a: int, b: int) -> int:
    """The number of pieces of size ``b`` that hold ``a`` things; also right for symbolic integers."""
    return -(-a // b)
