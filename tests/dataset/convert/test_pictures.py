from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from umseg.common.errors import UserError
from umseg.dataset.convert.pictures import save_picture, smallest_type


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 255], np.uint8),
        ([0, 256], np.uint16),
        ([0, 65535], np.uint16),
        ([0, 65536], np.float32),
        ([-1, 5], np.float32),
        ([0.5, 5], np.float32),
        ([np.nan, 5], np.float32),
        ([np.inf, 5], np.float32),
    ],
)
def test_smallest_type(values: list[float], expected: type[np.generic]) -> None:
    assert smallest_type(np.array(values, np.float32)) is expected


@pytest.mark.parametrize(
    ("ending", "dtype"),
    [(".png", np.uint8), (".png", np.uint16), (".tif", np.uint8), (".tif", np.uint32), (".tif", np.float32)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_no_value_changes(tmp_path: Path, ending: str, dtype: Any, channels: int) -> None:
    array = (np.random.default_rng(0).random((channels, 7, 9)) * 250).astype(dtype)
    save_picture(tmp_path / f"a{ending}", array)
    image = sitk.ReadImage(str(tmp_path / f"a{ending}"))
    assert image.GetNumberOfComponentsPerPixel() == channels
    read = sitk.GetArrayFromImage(image)
    assert read.dtype == dtype
    np.testing.assert_array_equal(
        read if channels == 1 else np.moveaxis(read, -1, 0), array[0] if channels == 1 else array
    )


def test_type_that_the_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        save_picture(tmp_path / "a.png", np.zeros((1, 3, 3), np.float32))
    assert list(tmp_path.iterdir()) == []
