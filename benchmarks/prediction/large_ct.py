"""A CT of the size that hospitals have: 512 x 512 x 600 voxels of 0.8 x 0.8 x 1.25 mm, the same on every machine.

    python -m benchmarks.prediction.large_ct FOLDER [--slices 600] [--side 512]

Arms are missing; everything else that matters for time and memory is there: air with its noise and the circle outside
of which a scanner stores -1024, a layer of fat, lungs, a spine with ribs, organs of different densities that change
from slice to slice, and noise in every voxel, without which the file would be a tenth of its size.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from isal import igzip
from numpy.typing import NDArray

SHAPE = (600, 512, 512)
"""Voxels along z, y, x."""
SPACING = (1.25, 0.8, 0.8)
"""mm along z, y, x."""

_NOISE = 18.0
_ORGANS = 24


def write_ct(path: Path, shape: tuple[int, int, int] = SHAPE, spacing: tuple[float, float, float] = SPACING) -> Path:
    """Write the CT as a NIfTI file of 16-bit Hounsfield units, slice by slice.

    Args:
        path: The file, ending in ``.nii.gz``.
        shape: Voxels along z, y, x.
        spacing: mm along z, y, x.
    """
    header: Any = nibabel.Nifti1Header()
    header.set_data_shape(shape[::-1])
    header.set_data_dtype(np.int16)
    header.set_zooms(spacing[::-1])
    # As a scanner stores a patient on the back: x to the left, y to the back, z to the head.
    header.set_sform(np.diag([-spacing[2], -spacing[1], spacing[0], 1]), code=1)
    header.set_qform(None, code=0)
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    opened: Any = igzip
    with opened.open(path, "wb", compresslevel=2) as file:
        file.write(header.binaryblock + bytes(4))
        for plane in planes(shape):
            file.write(plane.tobytes())
    return path


def planes(shape: tuple[int, int, int]) -> Iterator[NDArray[np.int16]]:
    """The slices of the CT, (y, x), from the feet to the head."""
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape[1:])
    y = y[:, None]
    organs = _organs()
    outside = x * x + y * y > 1
    for number, z in enumerate(np.linspace(-1, 1, shape[0])):
        plane = np.full(shape[1:], -1000, dtype=np.float32)
        width = 0.78 - 0.1 * z * z
        body = (x / width) ** 2 + (y / (0.62 * width)) ** 2
        plane[body < 1] = -90
        plane[body < 0.86] = 45
        for centre, radius, density in organs:
            if abs(z - centre[0]) < radius[0]:
                rest = 1 - ((z - centre[0]) / radius[0]) ** 2
                distance = ((y - centre[1]) / radius[1]) ** 2 + ((x - centre[2]) / radius[2]) ** 2
                plane[distance < rest] = density
        _add_bones(plane, body, y, x, float(z))
        noise = np.random.default_rng(number).standard_normal(shape[1:], dtype=np.float32)
        plane += _NOISE * noise
        plane[outside] = -1024
        yield np.clip(np.rint(plane), -1024, 3071).astype(np.int16)


def _organs() -> list[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Centre and radius, as parts of half the image along z, y, x, and Hounsfield units of each organ; lungs last."""
    rng = np.random.default_rng(0)
    organs = []
    for _ in range(_ORGANS):
        centre = rng.uniform((-0.9, -0.28, -0.42), (0.1, 0.22, 0.42))
        organs.append((centre, rng.uniform(0.08, 0.22, 3), float(rng.uniform(0, 160))))
    lungs = [(np.array([0.45, -0.02, side]), np.array([0.5, 0.3, 0.22]), -820.0) for side in (-0.33, 0.33)]
    return [*organs, *lungs]


def _add_bones(
    plane: NDArray[np.float32], body: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32], z: float
) -> None:
    spine = (x / 0.09) ** 2 + ((y - 0.3) / 0.09) ** 2
    plane[spine < 1] = 550 if np.sin(60 * z) > -0.8 else 80
    plane[spine < 0.15] = 25
    if z > -0.2:
        rib = (body > 0.72) & (body < 0.8) & (np.sin(45 * z + 6 * y) > 0.4)
        plane[rib] = 650


def main() -> None:
    """Parse the arguments and write the CT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for ct_0000.nii.gz")
    parser.add_argument("--slices", type=int, default=SHAPE[0], help="number of slices")
    parser.add_argument("--side", type=int, default=SHAPE[1], help="voxels along x and y")
    arguments = parser.parse_args()
    shape = (arguments.slices, arguments.side, arguments.side)
    print(write_ct(arguments.folder / "ct_0000.nii.gz", shape))


if __name__ == "__main__":
    main()
