from __future__ import annotations

import pickle
import pickletools

import numpy as np

from umseg.common.private_names import numpy_scalar_constructor


def test_pickled_numbers_are_made_by_this_function() -> None:
    make = numpy_scalar_constructor()
    assert make(np.dtype("f8"), np.float64(0.5).tobytes()) == 0.5
    names = [value for opcode, value, _ in pickletools.genops(pickle.dumps(np.float64(0.5), protocol=2)) if value]
    assert f"{make.__module__} {make.__name__}" in names
