"""Folders of small label maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

Writer = Callable[..., Path]


@pytest.fixture
def write_maps(tmp_path: Path) -> Writer:
    """``write_maps(folder, {file name: array}, spacing=(z, y, x))`` writes label maps below ``tmp_path``."""

    def write(
        folder: str,
        maps: Mapping[str, np.ndarray],
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        origin: tuple[float, ...] = (0.0, 0.0, 0.0),
    ) -> Path:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, array in maps.items():
            image = sitk.GetImageFromArray(array)
            image.SetSpacing(tuple(reversed(spacing))[: array.ndim])
            image.SetOrigin(origin[: array.ndim])
            sitk.WriteImage(image, str(target / name))
        return target

    return write


@pytest.fixture
def block() -> np.ndarray:
    """(6, 8, 9) uint8: class 1 is a 2x4x4 block, class 2 a 2x2x2 one beside it."""
    array = np.zeros((6, 8, 9), np.uint8)
    array[2:4, 2:6, 1:5] = 1
    array[2:4, 2:4, 6:8] = 2
    return array
