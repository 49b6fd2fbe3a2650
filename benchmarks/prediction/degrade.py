"""A series of images of which every second one is worse than those of training, as scanners and patients make them.

Failures are rare where images look like those of training, and there the errors of cases differ little. A series that
is half degraded, each image in one way and to a random extent, has failures for a confidence to find.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

Volume = NDArray[np.float32]


def degrade_folder(images: Path, target: Path, seed: int = 0) -> list[str]:
    """Write a series of single-channel images of which every second one is degraded.

    Args:
        images: Folder of ``CASE_0000.nii.gz``.
        target: New folder.
        seed: Seed of kinds and extents.

    Returns:
        The names of the files that were degraded.
    """
    target.mkdir(parents=True, exist_ok=True)
    rng, degraded = np.random.default_rng(seed), []
    for number, file in enumerate(sorted(images.glob("*.nii.gz"))):
        image = sitk.ReadImage(str(file), sitk.sitkFloat32)
        array = sitk.GetArrayFromImage(image)
        if number % 2:
            array = KINDS[rng.integers(len(KINDS))](array, float(rng.uniform()), rng)
            degraded.append(file.name)
        changed = sitk.GetImageFromArray(array)
        changed.CopyInformation(image)
        sitk.WriteImage(changed, str(target / file.name))
    return degraded


def _noise(array: Volume, extent: float, rng: np.random.Generator) -> Volume:
    """Gaussian noise of up to twice the standard deviation of the image."""
    noise = rng.normal(size=array.shape).astype(np.float32)
    noisy: Volume = array + np.float32(2 * extent * array.std()) * noise
    return noisy


def _blur(array: Volume, extent: float, rng: np.random.Generator) -> Volume:
    """A Gaussian of up to 3 voxels."""
    blurred: Volume = ndimage.gaussian_filter(array, 3 * extent)
    return blurred


def _bias(array: Volume, extent: float, rng: np.random.Generator) -> Volume:
    """A field that grows along one axis by up to a factor of e³."""
    axis = int(rng.integers(array.ndim))
    shape = [-1 if one == axis else 1 for one in range(array.ndim)]
    ramp = np.linspace(-1.5, 1.5, array.shape[axis], dtype=np.float32).reshape(shape)
    changed: Volume = array * np.exp(np.float32(extent) * ramp)
    return changed


def _ghosts(array: Volume, extent: float, rng: np.random.Generator) -> Volume:
    """Movement: up to four shifted copies."""
    axis = int(rng.integers(array.ndim))
    copies = [np.roll(array, 3 * number, axis) * np.float32(extent) for number in range(1, 5)]
    moved: Volume = array + np.sum(copies, axis=0, dtype=np.float32)
    return moved


KINDS: tuple[Callable[[Volume, float, np.random.Generator], Volume], ...] = (_noise, _blur, _bias, _ghosts)
