"""Components of predicted classes and what they have in common with the reference.

With these counts, the DSC after any removal of components is known without making another label map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from umseg.common.errors import UserError
from umseg.dataset.io.images import read_label
from umseg.evaluation import Pair
from umseg.inference.postprocessing.classes import components, with_margin

Counts = NDArray[np.intp]


@dataclass(frozen=True)
class Maps:
    """The two label maps of a case on one grid.

    Attributes:
        prediction: (z, y, x).
        reference: (z, y, x).
        known: (z, y, x), where the reference is annotated; None means everywhere.
        spacing: Size of a voxel along z, y, x, mm.
    """

    prediction: NDArray[np.integer[Any]]
    reference: NDArray[np.integer[Any]]
    known: NDArray[np.bool_] | None
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class Components:
    """The components of one class, or of the whole foreground, in one case.

    Attributes:
        volumes: Volume of each component, mm³.
        predicted: (components, classes) voxels of each class in each component, where the reference is annotated.
        common: (components, classes) those that have the class in the reference, too.
        reference: Voxels of each class in the reference.
    """

    volumes: NDArray[np.float64]
    predicted: Counts
    common: Counts
    reference: Counts

    def dice(self, kept: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> NDArray[np.float64]:
        """The DSC of each class if only some components are kept; NaN where neither map has the class.

        Args:
            kept: Function of the volumes that says which components are kept.
        """
        chosen = kept(self.volumes)
        return dice_of(self.predicted[chosen].sum(axis=0), self.reference, self.common[chosen].sum(axis=0))


def dice_of(predicted: Counts, reference: Counts, common: Counts) -> NDArray[np.float64]:
    """2 |A ∩ B| / (|A| + |B|), NaN where both are empty."""
    total = predicted + reference
    return np.where(total > 0, 2 * common / np.maximum(total, 1), np.nan)


def read_maps(pair: Pair, ignore: int | None) -> Maps:
    """Read the label maps of a case.

    Raises:
        UserError: A file is unreadable, or the two differ in shape.
    """
    prediction, reference = read_label(pair.prediction), read_label(pair.reference)
    if prediction.array.shape != reference.array.shape:
        raise UserError(
            "A label map and its reference differ in shape.",
            file=pair.prediction,
            found=prediction.array.shape,
            expected=reference.array.shape,
            remedy="Remove the validation folder of this fold and run the same `umseg train` command again.",
        )
    known = None if ignore is None else reference.array != ignore
    return Maps(prediction.array, reference.array, known, reference.spacing)


def foreground_components(maps: Maps, values: Sequence[Sequence[int]]) -> Components:
    """The components of all classes together.

    Args:
        maps: The label maps of a case.
        values: The values of each class or region in label maps.
    """
    numbers, sizes = components(maps.prediction > 0)
    common = [_count(numbers, _shared(maps, value), len(sizes)) for value in values]
    predicted = [_count(numbers, _known(maps, np.isin(maps.prediction, value)), len(sizes)) for value in values]
    return _components(maps, sizes, predicted, common, values)


def class_components(maps: Maps, values: Mapping[str, int]) -> dict[str, Components]:
    """The components of each class by itself.

    Args:
        maps: The label maps of a case.
        values: Class name to its value.
    """
    boxes = ndimage.find_objects(maps.prediction, max_label=max(values.values()))
    return {name: _of_class(maps, value, boxes[value - 1]) for name, value in values.items()}


def _of_class(maps: Maps, value: int, box: tuple[slice, ...] | None) -> Components:
    part = (slice(0, 0),) * 3 if box is None else with_margin(box, maps.prediction.shape)
    known = None if maps.known is None else maps.known[part]
    inside = Maps(maps.prediction[part], maps.reference[part], known, maps.spacing)
    mask = inside.prediction == value
    numbers, sizes = components(mask)
    predicted = [_count(numbers, _known(inside, mask), len(sizes))]
    common = [_count(numbers, _shared(inside, (value,)), len(sizes))]
    return _components(maps, sizes, predicted, common, [(value,)])


def _components(
    maps: Maps,
    sizes: Counts,
    predicted: Sequence[Counts],
    common: Sequence[Counts],
    values: Sequence[Sequence[int]],
) -> Components:
    reference = [np.count_nonzero(np.isin(maps.reference, value)) for value in values]
    return Components(
        # Component 0 is the background.
        volumes=(sizes[1:] * math.prod(maps.spacing)).astype(np.float64),
        predicted=np.stack(predicted, axis=1)[1:],
        common=np.stack(common, axis=1)[1:],
        reference=np.array(reference, dtype=np.intp),
    )


def _known(maps: Maps, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask if maps.known is None else mask & maps.known


def _shared(maps: Maps, value: Sequence[int]) -> NDArray[np.bool_]:
    # The ignore label is the value of no class.
    return np.isin(maps.prediction, value) & np.isin(maps.reference, value)


def _count(numbers: NDArray[np.int32], mask: NDArray[np.bool_], length: int) -> Counts:
    return np.bincount(numbers[mask], minlength=length)
