"""Label maps of a generated abdomen: thirteen organs with smooth, bumpy surfaces, and predictions that err a little."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SPACING = (2.5, 0.8, 0.8)
NAMES = ("liver", "kidney_r", "spleen", "pancreas", "aorta", "cava", "adrenal_r", "adrenal_l", "gallbladder",
         "oesophagus", "stomach", "duodenum", "kidney_l")  # fmt: skip

# Centre as a fraction of the image along z, y, x, and radii in mm: volumes of adults.
_ORGANS = (
    ((0.62, 0.45, 0.33), (75, 65, 75)), ((0.42, 0.60, 0.35), (52, 27, 27)), ((0.62, 0.60, 0.72), (50, 30, 27)),
    ((0.50, 0.47, 0.55), (17, 16, 55)), ((0.50, 0.64, 0.52), (140, 10, 10)), ((0.50, 0.60, 0.45), (130, 11, 11)),
    ((0.62, 0.62, 0.42), (14, 10, 7)), ((0.60, 0.63, 0.60), (14, 10, 7)), ((0.46, 0.36, 0.38), (27, 16, 14)),
    ((0.85, 0.60, 0.50), (42, 9, 9)), ((0.66, 0.38, 0.62), (45, 32, 48)), ((0.40, 0.47, 0.45), (25, 15, 32)),
    ((0.44, 0.60, 0.66), (52, 27, 27)),
)  # fmt: skip


def abdomen(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and its reference, (z, y, x) int8 with the values 0 to 13, of voxels of ``SPACING``.

    Organs of real sizes in mm are scaled with the image. The surfaces of reference and prediction bulge independently
    by about 1 mm, and the prediction is 1 mm off and has a false piece of every third organ, a few mm across.
    """
    draw = np.random.default_rng(seed)
    shared = _bumps(shape, draw)
    reference = _organs(shape, shared + 0.5 * _bumps(shape, draw), np.zeros(3))
    prediction = _organs(shape, shared + 0.5 * _bumps(shape, draw), draw.normal(0, 1, 3))
    for value in range(1, len(NAMES) + 1, 3):
        corner = [int(draw.integers(size // 10, size - size // 8)) for size in shape]
        piece = prediction[tuple(slice(c, c + max(size // 50, 2)) for c, size in zip(corner, shape, strict=True))]
        piece[piece == 0] = value
    return prediction, reference


def _organs(shape: tuple[int, int, int], bumps: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Ellipsoids whose surfaces are moved outwards by ``bumps`` mm and whose centres by ``offset`` mm."""
    label = np.zeros(shape, np.int8)
    lengths = np.multiply((120, 512, 512), SPACING)  # of the image, mm
    step = lengths / shape
    small_first = sorted(enumerate(_ORGANS, start=1), key=lambda organ: np.prod(organ[1][1]))
    for value, (centre, radii) in small_first:
        middle, reach = np.multiply(centre, lengths) + offset, np.add(radii, 10)
        low = np.maximum(np.floor((middle - reach) / step).astype(int), 0)
        high = np.minimum(np.ceil((middle + reach) / step).astype(int), shape)
        part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grid = np.ogrid[part]
        scaled = sum(((g * s - m) / r) ** 2 for g, s, m, r in zip(grid, step, middle, radii, strict=True))
        inside = (np.sqrt(scaled) - 1) * min(radii) < np.maximum(bumps[part], -0.4 * min(radii))
        label[part][inside & (label[part] == 0)] = value
    return label


def _bumps(shape: tuple[int, int, int], draw: np.random.Generator) -> np.ndarray:
    """Smooth noise with a standard deviation of 2 mm."""
    coarse = draw.normal(size=[max(size // 8, 4) for size in shape])
    coarse = ndimage.zoom(ndimage.gaussian_filter(coarse, 1.0), np.divide(shape, coarse.shape), order=1)
    noise = np.zeros(shape, np.float32)
    part = tuple(slice(0, min(a, b)) for a, b in zip(shape, coarse.shape, strict=True))
    noise[part] = coarse[part]
    noise *= 2 / noise.std()
    return noise
