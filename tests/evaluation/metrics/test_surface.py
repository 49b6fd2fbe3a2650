from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from tests.conftest import GOLDEN
from tests.evaluation.strategies import mask_pairs, spacings, tolerances
from umseg.evaluation import assd, assd_pooled, hd, hd95, surface_dice
from umseg.evaluation.metrics import measurements
from umseg.evaluation.metrics.distances import SurfaceDistances, surface_distances
from umseg.evaluation.metrics.measurements import Measurements
from umseg.evaluation.metrics.overlap import DSC
from umseg.evaluation.metrics.surface import ASSD, HD95, MASD, NSD

Recorded = tuple[str, np.ndarray, np.ndarray, list[float], dict[str, Any]]


def recorded() -> list[Recorded]:
    """Name, reference, prediction, spacing and scores that surface-distance gave."""
    folder = GOLDEN / "metrics"
    cases = []
    for name, scores in json.loads((folder / "binary_expected.json").read_text()).items():
        with np.load(folder / f"binary_{name}.npz", allow_pickle=False) as arrays:
            cases.append((name, arrays["gt"], arrays["pred"], arrays["spacing"].tolist(), scores))
    with np.load(folder / "surface_random.npz", allow_pickle=False) as arrays:
        for name, scores in json.loads((folder / "surface_random_expected.json").read_text()).items():
            cases.append((name, arrays[f"{name}_gt"], arrays[f"{name}_pred"], scores["spacing"], scores))
    return cases


RECORDED = recorded()


@pytest.mark.parametrize("case", RECORDED, ids=[case[0] for case in RECORDED])
def test_recorded_values(case: Recorded) -> None:
    _, reference, prediction, spacing, scores = case
    for tolerance, expected in scores["nsd"].items():
        found = surface_dice(prediction, reference, spacing, float(tolerance))
        assert found == pytest.approx(math.nan if expected is None else expected, rel=1e-9, nan_ok=True), tolerance
    if "hd95" in scores:
        assert hd95(prediction, reference, spacing) == pytest.approx(scores["hd95"], rel=1e-9)
        assert assd(prediction, reference, spacing) == pytest.approx(sum(scores["assd"]) / 2, rel=1e-9)
        distances = surface_distances(prediction, reference, spacing)
        assert max(distances.prediction.max(), distances.reference.max()) == pytest.approx(scores["hd100"], rel=1e-9)


def test_recorded_values_cover_every_code() -> None:
    """The random masks must contain all 256 kinds of cell, or the recorded areas would prove less than they seem to."""
    seen = set()
    for name, reference, prediction, _, _ in RECORDED:
        for mask in (reference, prediction) if name.startswith("random") else ():
            windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 1), (2, 2, 2)).reshape(-1, 8)
            seen |= set((windows @ (128 >> np.arange(8))).tolist())
    assert len(seen) == 256


@given(mask_pairs(), spacings, tolerances)
def test_symmetry_and_bounds(pair: np.ndarray, spacing: tuple[float, float, float], tolerance: float) -> None:
    value = surface_dice(pair[0], pair[1], spacing, tolerance)
    assert value == pytest.approx(surface_dice(pair[1], pair[0], spacing, tolerance), nan_ok=True)
    assert math.isnan(value) == (not pair.any())
    assert math.isnan(value) or 0 <= value <= 1 + 1e-12


@given(mask_pairs(), spacings, tolerances)
def test_identity_is_perfect(pair: np.ndarray, spacing: tuple[float, float, float], tolerance: float) -> None:
    mask = pair[0]
    if mask.any():
        assert surface_dice(mask, mask, spacing, tolerance) == 1
        assert hd95(mask, mask, spacing) == assd(mask, mask, spacing) == 0


@given(mask_pairs(), spacings)
def test_a_larger_tolerance_never_lowers_the_score(pair: np.ndarray, spacing: tuple[float, float, float]) -> None:
    values = [surface_dice(pair[0], pair[1], spacing, tolerance) for tolerance in (0.0, 0.5, 1.0, 2.0, 4.0, 1e3)]
    assert all(math.isnan(value) for value in values) or values == sorted(values)
    if pair[0].any() and pair[1].any():
        assert values[-1] == 1


@given(mask_pairs(low=2), spacings, tolerances, st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3))
def test_translation_and_padding_change_nothing(
    pair: np.ndarray, spacing: tuple[float, float, float], tolerance: float, margins: tuple[tuple[int, int], ...]
) -> None:
    moved = np.pad(pair, ((0, 0), *margins))
    expected = surface_dice(pair[0], pair[1], spacing, tolerance)
    assert surface_dice(moved[0], moved[1], spacing, tolerance) == pytest.approx(expected, nan_ok=True)


@given(mask_pairs(), spacings, tolerances, st.sampled_from([0.125, 0.5, 2.0, 1024.0]))
def test_the_unit_of_length_does_not_matter(
    pair: np.ndarray, spacing: tuple[float, float, float], tolerance: float, factor: float
) -> None:
    """Powers of two: they scale without rounding, which decides about distances equal to the tolerance."""
    scaled = [factor * side for side in spacing]
    expected = surface_dice(pair[0], pair[1], spacing, tolerance)
    assert surface_dice(pair[0], pair[1], scaled, factor * tolerance) == pytest.approx(expected, nan_ok=True)


@given(mask_pairs(low=2), spacings, tolerances, st.permutations(range(3)))
def test_the_order_of_the_axes_does_not_matter(
    pair: np.ndarray, spacing: tuple[float, float, float], tolerance: float, axes: list[int]
) -> None:
    expected = surface_dice(pair[0], pair[1], spacing, tolerance)
    turned = [mask.transpose(axes) for mask in pair]
    found = surface_dice(turned[0], turned[1], [spacing[a] for a in axes], tolerance)
    assert found == pytest.approx(expected, nan_ok=True)


@given(mask_pairs(), spacings, tolerances)
def test_one_slice_is_a_two_dimensional_image(
    pair: np.ndarray, spacing: tuple[float, float, float], tolerance: float
) -> None:
    first = pair[:, 0]
    expected = surface_dice(first[0], first[1], spacing[1:], tolerance)
    assert surface_dice(first[0][None], first[1][None], spacing, tolerance) == pytest.approx(expected, nan_ok=True)


@settings(max_examples=30)
@given(mask_pairs(), spacings, tolerances)
def test_the_bounded_search_finds_what_the_full_one_finds(
    pair: np.ndarray, spacing: tuple[float, float, float], tolerance: float
) -> None:
    full = surface_distances(pair[0], pair[1], spacing)
    bounded = surface_distances(pair[0], pair[1], spacing, limit=tolerance)
    for everything, near in ((full.prediction, bounded.prediction), (full.reference, bounded.reference)):
        within = everything <= tolerance
        np.testing.assert_allclose(near[within], everything[within])
        assert (near[~within] > tolerance).all()


def test_a_shift_is_measured_in_millimetres() -> None:
    """A plate two voxels of 0.7 mm aside: a tolerance of exactly 1.4 mm forgives it, a smaller one does not."""
    reference = np.zeros((9, 9, 20), bool)
    reference[:, :, 4:8] = True
    prediction = np.roll(reference, 2, axis=2)
    spacing = (5.0, 5.0, 0.7)
    assert surface_dice(prediction, reference, spacing, 1.4) == 1
    assert surface_dice(prediction, reference, spacing, 1.39) < 1
    assert hd95(prediction, reference, spacing) == pytest.approx(1.4)


def test_the_border_closes_a_mask() -> None:
    """The full volume has the surface of a box: faces, and edges and corners cut off by half a voxel."""
    full = np.ones((4, 5, 6), bool)
    found = surface_distances(full, full, (1, 1, 1))
    faces = 2 * (3 * 4 + 3 * 5 + 4 * 5)
    edges = 4 * (3 + 4 + 5) * math.sqrt(0.5)
    assert found.prediction_areas.sum() == pytest.approx(faces + edges + math.sqrt(3))


def test_a_single_pixel_has_the_contour_of_a_diamond() -> None:
    pixel = np.zeros((5, 6), bool)
    pixel[0, 0] = True
    found = surface_distances(pixel, pixel, (3, 4))
    assert found.prediction_areas.sum() == pytest.approx(4 * 2.5)


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 6), (5, 6)])
def test_empty_masks(shape: tuple[int, ...]) -> None:
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    spacing = (1.0,) * len(shape)
    assert surface_dice(empty, full, spacing, 100) == surface_dice(full, empty, spacing, 100) == 0
    assert hd95(empty, full, spacing) == assd(full, empty, spacing) == math.inf
    for score in (surface_dice(empty, empty, spacing, 1), hd95(empty, empty, spacing), assd(empty, empty, spacing)):
        assert math.isnan(score)


def test_arrays_without_voxels_are_empty() -> None:
    nothing = np.zeros((0, 0, 0), bool)
    assert math.isnan(surface_dice(nothing, nothing, (1, 1, 1), 1))


def test_arguments_that_make_no_sense() -> None:
    mask = np.ones((3, 3, 3), bool)
    for spacing in [(1, 1), (1, 1, 0), (1, 1, -1), (1, 1, math.nan)]:
        with pytest.raises(ValueError, match="spacing"):
            surface_dice(mask, mask, spacing, 1)
    for tolerance in (-1, math.nan):
        with pytest.raises(ValueError, match="tolerance"):
            surface_dice(mask, mask, (1, 1, 1), tolerance)
    with pytest.raises(ValueError, match="boolean"):
        surface_dice(mask.astype(int), mask, (1, 1, 1), 1)
    with pytest.raises(ValueError, match="shape"):
        surface_dice(mask, mask[:2], (1, 1, 1), 1)
    with pytest.raises(ValueError, match="2-D or 3-D"):
        surface_dice(mask[None], mask[None], (1, 1, 1, 1), 1)


def test_the_recorded_values_are_those_of_the_shared_folder(shared: Path) -> None:
    expected = json.loads((shared / "reference" / "metrics" / "binary_expected.json").read_text())
    copied = json.loads((GOLDEN / "metrics" / "binary_expected.json").read_text())
    assert copied == {name: scores["umamba"] for name, scores in expected.items()}


def test_surface_that_touches_the_unknown_does_not_count() -> None:
    mask, unknown = np.zeros((2, 12, 20), bool)
    mask[4:8, 2:18] = True
    unknown[:, 10:] = True
    found = surface_distances(mask, mask, (1.0, 1.0), unknown=unknown)
    # Both long sides from column 2 to column 9, the left end and its two corners.
    expected = 2 * 7 + 3 + 2 * math.sqrt(0.5)
    assert found.prediction_areas.sum() == pytest.approx(expected)
    assert found.reference_areas.sum() == pytest.approx(expected)
    # A voxel that is unknown hides the surface beside it, also where it lies outside both masks.
    unknown = np.zeros_like(mask)
    unknown[3, 10] = True
    found = surface_distances(mask, mask, (1.0, 1.0), unknown=unknown)
    whole = surface_distances(mask, mask, (1.0, 1.0))
    assert found.reference_areas.sum() == pytest.approx(whole.reference_areas.sum() - 2)
    assert math.isnan(surface_dice(mask, mask, (1.0, 1.0), 1.0, np.ones_like(mask)))
    assert math.isnan(hd95(mask, mask, (1.0, 1.0), np.ones_like(mask)))
    assert math.isnan(assd(mask, mask, (1.0, 1.0), np.ones_like(mask)))


@given(mask_pairs(), spacings)
def test_laws_of_the_distances(pair: np.ndarray, spacing: tuple[float, float, float]) -> None:
    for score in (hd95, assd):
        value = score(pair[0], pair[1], spacing)
        assert value == pytest.approx(score(pair[1], pair[0], spacing), nan_ok=True)
        assert math.isnan(value) == (not pair.any())
        assert math.isinf(value) == (pair[0].any() != pair[1].any())
        assert math.isnan(value) or value >= 0


@given(mask_pairs(), spacings, tolerances)
def test_all_distances_give_the_same_nsd_as_the_near_ones(
    pair: np.ndarray, spacing: tuple[float, float, float], tolerance: float
) -> None:
    near = Measurements(pair[0], pair[1], spacing, tolerance)
    complete = Measurements(pair[0], pair[1], spacing, tolerance, complete=True)
    assert repr(NSD.function(near)) == repr(NSD.function(complete))


def test_distances_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def counted(*arguments: Any, **options: Any) -> SurfaceDistances:
        calls.append(options)
        return surface_distances(*arguments, **options)

    monkeypatch.setattr(measurements, "surface_distances", counted)
    mask = np.ones((3, 4, 5), bool)
    both = Measurements(mask, mask, (1.0, 1.0, 1.0), 1.0, complete=True)
    assert [metric.function(both) for metric in (NSD, HD95, ASSD, NSD)] == [1, 0, 0, 1]
    assert len(calls) == 1
    assert both.counts is both.counts
    assert DSC.function(Measurements(mask, mask)) == 1
    assert len(calls) == 1, "counts need no surfaces"


def test_a_surface_that_is_hidden_on_one_side_is_measured_from_the_other() -> None:
    """The prediction lies wholly in the unknown, so only the reference's distances count."""
    prediction, reference, unknown = np.zeros((3, 1, 8, 20), bool)
    prediction[0, 2:6, 12:16] = unknown[0, :, 10:] = True
    reference[0, 2:6, 2:6] = True
    reference |= prediction & unknown
    distances = surface_distances(prediction[0], reference[0], (1.0, 1.0), unknown=unknown[0])
    assert not distances.prediction.size
    assert math.isfinite(assd(prediction, reference, (1.0, 1.0, 1.0), unknown))
    expected = np.average(distances.reference, weights=distances.reference_areas)
    assert assd(prediction, reference, (1.0, 1.0, 1.0), unknown) == pytest.approx(expected)
    assert expected < hd95(prediction, reference, (1.0, 1.0, 1.0), unknown) <= distances.reference.max()


def by_hand(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Places in mm and areas of the surface elements, from a look at every cell; the areas are those of one voxel."""
    found = surface_distances(mask, mask, spacing)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 1), (2,) * mask.ndim)
    inside = windows.reshape(*windows.shape[: mask.ndim], -1)
    return np.argwhere(inside.any(axis=-1) & ~inside.all(axis=-1)) * np.array(spacing), found.prediction_areas


@settings(deadline=None)
@given(mask_pairs(low=2), spacings, tolerances, st.booleans())
def test_scores_are_those_of_all_pairs_of_elements(
    pair: np.ndarray, spacing: tuple[float, float, float], tolerance: float, flat: bool
) -> None:
    """Also for true 2-D images."""
    masks, scale = (pair[:, 0], spacing[1:]) if flat else (pair, spacing)
    if not (masks[0].any() and masks[1].any()):
        return
    (places, areas), (places_ref, areas_ref) = (by_hand(mask, scale) for mask in masks)
    table = cdist(places, places_ref)
    one, other = table.min(axis=1), table.min(axis=0)
    # A distance equal to the tolerance may be rounded to either side of it here.
    limits = (tolerance * (1 - 1e-9), tolerance * (1 + 1e-9))
    near = [(areas[one <= limit].sum() + areas_ref[other <= limit].sum()) for limit in limits]
    total = areas.sum() + areas_ref.sum()
    assert near[0] / total - 1e-9 <= surface_dice(masks[0], masks[1], scale, tolerance) <= near[1] / total + 1e-9
    assert hd(masks[0], masks[1], scale) == pytest.approx(max(one.max(), other.max()))
    means = np.average(one, weights=areas), np.average(other, weights=areas_ref)
    assert assd(masks[0], masks[1], scale) == pytest.approx(np.mean(means))
    assert assd_pooled(masks[0], masks[1], scale) == pytest.approx(
        ((one * areas).sum() + (other * areas_ref).sum()) / total
    )
    assert hd95(masks[0], masks[1], scale) <= hd(masks[0], masks[1], scale)


def test_names_of_the_average_distances() -> None:
    """Metrics Reloaded names the mean of two means MASD, and the mean over both surfaces together ASSD."""
    reference, prediction = np.zeros((2, 1, 30, 30), bool)
    reference[0, 4:26, 4:26] = True
    prediction[0, 12:14, 12:14] = True
    measured = Measurements(prediction, reference, (1.0, 1.0, 1.0))
    assert MASD.function(measured) == ASSD.function(measured)
    pooled = assd_pooled(prediction, reference, (1.0, 1.0, 1.0))
    found = measured.surfaces
    distances, areas = (np.concatenate(side) for side in zip(*found.directed(), strict=True))
    assert pooled == pytest.approx(np.average(distances, weights=areas)) != ASSD.function(measured)


def test_hausdorff_distances_of_empty_masks() -> None:
    empty, full = np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)
    for score in (hd, assd_pooled):
        assert math.isinf(score(empty, full, (1.0, 1.0, 1.0)))
        assert math.isnan(score(empty, empty, (1.0, 1.0, 1.0)))
