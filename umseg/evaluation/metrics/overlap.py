"""How far two masks overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of a prediction against its reference.

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
        """Voxels of the prediction."""
        return self.TP + self.FP

    @property
    def n_ref(self) -> int:
        """Voxels of the reference."""
        return self.TP + self.FN

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN where both masks are empty (docs/rules.md, Evaluation)."""
        total = self.n_pred + self.n_ref
        return 2 * self.TP / total if total else float("nan")


def check_masks(prediction: NDArray[Any], reference: NDArray[Any]) -> None:
    """Refuse masks that cannot be compared.

    Raises:
        ValueError: The masks differ in shape, or one is not boolean.
    """
    if prediction.dtype != np.bool_ or reference.dtype != np.bool_:
        raise ValueError(f"masks must be boolean, found {prediction.dtype} and {reference.dtype}")
    if prediction.shape != reference.shape:
        raise ValueError(f"masks differ in shape: {prediction.shape} and {reference.shape}")


def overlap(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Overlap:
    """Count the voxels in both masks and in one alone.

    Args:
        prediction: Any shape, boolean.
        reference: The same shape, boolean.

    Raises:
        ValueError: The masks differ in shape, or one is not boolean.
    """
    check_masks(prediction, reference)
    both = int(np.count_nonzero(prediction & reference))
    return Overlap(both, int(np.count_nonzero(prediction)) - both, int(np.count_nonzero(reference)) - both)


def dice(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Dice similarity coefficient (DSC): twice the common voxels over the sum of both masks' voxels.

    Args:
        prediction: Any shape, boolean.
        reference: The same shape, boolean.

    Returns:
        0 (nothing in common) to 1 (identical). NaN where both masks are empty: nothing was there to be found and
        nothing was claimed, so the case says nothing about the class (docs/rules.md, Evaluation).

    Raises:
        ValueError: The masks differ in shape, or one is not boolean.
    """
    return overlap(prediction, reference).dice
