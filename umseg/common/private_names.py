"""The private names of numpy that umseg needs; those of torch are in ``umseg.kernels.runtime.torch_private``.

Checked with numpy 2.x by tests/common/test_private_names.py, which runs with the numpy that is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def numpy_scalar_constructor() -> Any:
    """The function by which pickles make numbers of numpy; it runs nothing but numpy's constructors."""
    core = getattr(np, "_core", None) or np.core  # numpy 1.26 has the second only
    return core.multiarray.scalar
