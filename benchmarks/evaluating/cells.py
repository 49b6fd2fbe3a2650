"""Images of generated cells, and matchers of instances by scikit-image's functions."""

from __future__ import annotations

import numpy as np


def cells(size: int, count: int, seed: int, jitter: float = 0.08) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and its reference, (size, size) int32: discs on a jittered grid, the predicted ones aside."""
    draw = np.random.default_rng(seed)
    per_side = round(count**0.5)
    step = size / per_side
    centres = (np.argwhere(np.ones((per_side, per_side))) + 0.5) * step
    centres += draw.uniform(-jitter, jitter, centres.shape) * step
    radii = draw.uniform(0.25, 0.5, len(centres)) * step
    moved = centres + draw.normal(0, jitter, centres.shape) * step
    return _discs(size, moved, radii), _discs(size, centres, radii)


def _discs(size: int, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    label = np.zeros((size, size), np.int32)
    for number, ((y, x), radius) in enumerate(zip(centres, radii, strict=True), start=1):
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        part = label[top : int(y + radius) + 2, left : int(x + radius) + 2]
        rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
        part[(rows + top - y) ** 2 + (columns + left - x) ** 2 < radius**2] = number
    return label


def match_by_boxes(prediction: np.ndarray, reference: np.ndarray, threshold: float) -> tuple[int, int, int]:
    """TP, FP and FN by scikit-image's ``regionprops``: a look into the box of every object of the reference."""
    from skimage.measure import regionprops

    predicted = {region.label: region for region in regionprops(prediction)}
    referenced = regionprops(reference)
    matched = 0
    for region in referenced:
        found, shared = np.unique(prediction[region.slice][region.image], return_counts=True)
        for label, common in zip(found, shared, strict=True):
            if label and common / (region.area + predicted[label].area - common) >= threshold:
                matched += 1
                break
    return matched, len(predicted) - matched, len(referenced) - matched


def match_by_table(prediction: np.ndarray, reference: np.ndarray, threshold: float) -> tuple[int, int, int]:
    """TP, FP and FN by scikit-image's ``contingency_table``, which is sparse; a dense one needs gigabytes here."""
    from skimage.metrics import contingency_table

    table = contingency_table(reference, prediction)
    wanted, found = (np.asarray(table.sum(axis=axis)).ravel() for axis in (1, 0))
    pairs = table.tocoo()
    objects = (pairs.row > 0) & (pairs.col > 0)
    row, column, shared = pairs.row[objects], pairs.col[objects], pairs.data[objects]
    matched = int(np.count_nonzero(shared / (wanted[row] + found[column] - shared) >= threshold))
    return matched, int(np.count_nonzero(found[1:])) - matched, int(np.count_nonzero(wanted[1:])) - matched


MATCHERS = {"scikit-image, regionprops": match_by_boxes, "scikit-image, contingency_table": match_by_table}
