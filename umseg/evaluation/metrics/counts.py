"""Voxel counts of a predicted mask against its reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Counts:
    """Voxels of a prediction and its reference.

    Attributes:
        TP: Voxels in both masks.
        FP: Voxels in the prediction alone.
        FN: Voxels in the reference alone.
    """

    TP: int
    FP: int
    FN: int

    @property
    def n_pred(self) -> int:
        """Voxels in the prediction."""
        return self.TP + self.FP

    @property
    def n_ref(self) -> int:
        """Voxels in the reference."""
        return self.TP + self.FN


def count_voxels(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Counts:
    """Count the voxels in both masks and in one alone.

    Args:
        prediction: Any shape, boolean.
        reference: The same shape, boolean.

    Raises:
        ValueError: The masks differ in shape, or one is not boolean.
    """
    check_masks(prediction, reference)
    both = int(np.count_nonzero(prediction & reference))
    return Counts(both, int(np.count_nonzero(prediction)) - both, int(np.count_nonzero(reference)) - both)


def check_masks(prediction: NDArray[Any], reference: NDArray[Any]) -> None:
    """Refuse masks that cannot be compared.

    Raises:
        ValueError: The masks differ in shape, or one is not boolean.
    """
    if prediction.dtype != np.bool_ or reference.dtype != np.bool_:
        raise ValueError(f"masks must be boolean, found {prediction.dtype} and {reference.dtype}")
    if prediction.shape != reference.shape:
        raise ValueError(f"masks differ in shape: {prediction.shape} and {reference.shape}")
