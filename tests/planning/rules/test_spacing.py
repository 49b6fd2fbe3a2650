from __future__ import annotations

import pytest

from umseg.planning.rules.spacing import axis_order, median_shape, permute, resampled_shape, target_spacing


def test_target_is_the_median() -> None:
    assert target_spacing([(1, 2, 3), (2, 2, 3), (4, 9, 3)], [(9, 9, 9)] * 3) == (2, 2, 3)


def test_coarse_short_axis_takes_the_tenth_percentile() -> None:
    spacings = [(2.0, 1.0, 1.0), (5.0, 1.0, 1.0), (5.0, 1.0, 1.0)]
    assert target_spacing(spacings, [(20, 100, 100)] * 3) == pytest.approx((2.6, 1.0, 1.0))


def test_coarse_axis_never_becomes_finer_than_the_others() -> None:
    spacings = [(0.5, 1.0, 1.2)] * 4 + [(5.0, 1.0, 1.2)] * 5
    assert target_spacing(spacings, [(20, 100, 100)] * 9) == (1.2 + 1e-5, 1.0, 1.2)


def test_coarse_long_axis_keeps_the_median() -> None:
    spacings = [(2.0, 1.0, 1.0), (5.0, 1.0, 1.0), (5.0, 1.0, 1.0)]
    assert target_spacing(spacings, [(50, 100, 100)] * 3)[0] == 5.0


def test_shapes_round_half_to_even_and_keep_one_voxel() -> None:
    assert resampled_shape((1.0, 1.0, 0.1), (5, 7, 2), (2.0, 2.0, 1.0)) == (2, 4, 1)


def test_median_shape_may_be_half() -> None:
    assert median_shape([(1, 1, 1)] * 2, [(4, 6, 8), (5, 6, 9)], (1, 1, 1)) == (4.5, 6, 8.5)


@pytest.mark.parametrize(
    ("target", "median", "forward", "backward"),
    [
        ((3, 1, 1), (9, 9, 9), (0, 1, 2), (0, 1, 2)),
        ((1, 3, 1), (9, 9, 9), (1, 0, 2), (1, 0, 2)),
        ((1, 1, 3), (9, 9, 9), (2, 0, 1), (1, 2, 0)),
        ((1, 1, 1), (9, 9, 9), (0, 1, 2), (0, 1, 2)),
        ((1, 1, 1), (9, 9, 1), (2, 0, 1), (1, 2, 0)),
        ((3, 1, 1), (9, 1, 9), (1, 0, 2), (1, 0, 2)),
    ],
)
def test_slice_axis_comes_first(
    target: tuple[float, float, float],
    median: tuple[float, float, float],
    forward: tuple[int, int, int],
    backward: tuple[int, int, int],
) -> None:
    assert axis_order(target, median) == (forward, backward)
    assert permute(permute((7.0, 8.0, 9.0), forward), backward) == (7.0, 8.0, 9.0)
