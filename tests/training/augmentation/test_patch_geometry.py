from __future__ import annotations

import numpy as np
import pytest

from umseg.training.augmentation import patch_geometry


@pytest.mark.parametrize(
    ("patch", "degrees", "in_plane", "initial"),
    [
        ((128, 128, 128), 30, False, (205, 205, 205)),
        ((512, 512), 180, False, (602, 602)),
        ((384, 640), 15, False, (631, 752)),
        ((40, 56, 40), 30, False, (73, 80, 64)),
        ((256, 224), 180, False, (301, 301)),
        ((40, 224, 192), 180, True, (40, 263, 263)),
    ],
)
def test_geometry_of_the_published_plans(
    patch: tuple[int, ...], degrees: float, in_plane: bool, initial: tuple[int, ...]
) -> None:
    geometry = patch_geometry(patch)
    assert geometry.angle == pytest.approx(np.deg2rad(degrees))
    assert geometry.in_plane is in_plane
    assert geometry.initial_patch == initial
    assert geometry.mirror_axes == tuple(range(len(patch)))
    assert geometry.rotated_axes == len(patch) - in_plane


def test_slices_are_turned_alone_from_more_than_three_to_one() -> None:
    assert not patch_geometry((16, 48, 48)).in_plane
    assert patch_geometry((16, 49, 48)).in_plane
