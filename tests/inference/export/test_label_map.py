"""Labels from slabs are those of interpolating every logit, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.inference.export.brute_force import ISOTROPIC, Grids, Shape, slabs
from umseg.inference.export import device, host
from umseg.inference.export.device import DeviceLabels, DevicePlanes
from umseg.inference.export.grid import OutputGrid
from umseg.inference.export.label_map import LabelExport
from umseg.inference.export.target import LabelTarget, label_numbers
from umseg.inference.windows.slab import Slab, Strip

SPACINGS = (ISOTROPIC, (9.0, 1.0, 1.0), (1.0, 9.0, 1.0), (1.0, 1.0, 9.0), (1.0, 1.0))
ORDERS: tuple[Shape, ...] = ((0, 1, 2), (2, 0, 1), (1, 0, 2))


def by_kernels(grids: Grids, parts: Iterable[Slab], regions: Sequence[int] | None) -> NDArray[Any]:
    export = LabelExport(grids.properties, grids.plan, grids.configuration, regions)
    for slab in parts:
        export.add(slab)
    return export.label_map()


def by_torch(grids: Grids, parts: Iterable[Slab], regions: Sequence[int] | None) -> NDArray[Any]:
    """The way of a GPU, on the CPU."""
    last: dict[Strip, DevicePlanes] = {}
    labels: DeviceLabels | None = None
    for slab in parts:
        if labels is None:
            numbers = label_numbers(len(slab.sums), regions)
            target = LabelTarget(grids.properties, grids.plan, numbers.dtype)
            grid = OutputGrid.of(grids.properties, grids.configuration)
            labels = DeviceLabels(grid, target, numbers, regions is not None)
        last[slab.strip] = labels.add(slab, last.get(slab.strip))
    assert labels is not None
    labels.target.missing[:] = False
    return labels.target.label_map()


def make_logits(kind: str, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float32]:
    noise = generator.normal(size=shape).astype(np.float32)
    few = generator.integers(-1, 2, size=shape).astype(np.float32)
    if kind in ("ulps", "stairs"):
        # A few units in the last place apart, below and above 2, where such a unit doubles; with stairs every class is
        # larger than the one before, everywhere, until values are interpolated and rounded.
        units = generator.integers(-3, 4, size=shape)
        if kind == "stairs":
            units = units[:1] + np.arange(shape[0])[:, None, None, None]
        stairs: NDArray[np.float32] = (np.float32(2).view(np.int32) + units).astype(np.int32).view(np.float32)
        return stairs
    made = {
        "noise": noise,
        "smooth": np.cumsum(noise, axis=1, dtype=np.float32),
        "ties": few,
        "constant": np.ones_like(noise),
        "zeros": np.where(few > 0, np.float32(-0.0), np.float32(0)),
        "huge": few * np.float32(3e38),
        "tiny": few * np.float32(1.4e-45),
        "far apart": few * np.float32(10) ** generator.integers(-44, 38, size=shape).astype(np.float32),
    }
    logits: NDArray[np.float32] = made[kind].astype(np.float32)
    return logits


KINDS = ("noise", "smooth", "ties", "ulps", "stairs", "constant", "zeros", "huge", "tiny", "far apart")
SIZES = st.integers(1, 6)
SHAPES = st.tuples(SIZES, SIZES, SIZES)


@settings(max_examples=500)
@given(
    old=SHAPES,
    new=st.one_of(st.none(), SHAPES),
    spacing=st.sampled_from(SPACINGS),
    order=st.sampled_from(ORDERS),
    classes=st.sampled_from([1, 2, 3, 17, 50]),
    kind=st.sampled_from(KINDS),
    weighted=st.booleans(),
    with_regions=st.booleans(),
    height=st.integers(1, 6),
    cuts=st.sets(st.integers(1, 4), max_size=2),
    seed=st.integers(0, 2**32 - 1),
)
def test_labels_are_those_of_interpolating_everything(
    old: Shape,
    new: Shape | None,
    spacing: tuple[float, ...],
    order: Shape,
    classes: int,
    kind: str,
    weighted: bool,
    with_regions: bool,
    height: int,
    cuts: set[int],
    seed: int,
) -> None:
    new = old if new is None else new
    if len(spacing) == 2:  # slices of a 2-D model stay as they are
        new = (old[0], *new[1:])
    grids = Grids.of(old, new, spacing, margin=seed % 3, order=order)
    generator = np.random.default_rng(seed)
    weights = np.ones(old, np.float32)
    if weighted and kind not in ("huge", "far apart"):
        weights = generator.choice(np.array([6e-8, 0.3, 1, 10, 41], np.float32), size=old)
    with np.errstate(under="ignore"):
        sums = make_logits(kind, (classes, *old), generator)
        # The tiniest numbers become zero by division.
        sums = sums if kind == "tiny" else sums * weights
        logits = sums / weights
    regions = tuple(generator.permutation(classes) + 1) if with_regions else None
    expected = grids.label_map(logits, regions)
    cutting = {"height": height, "strips": [row for row in sorted(cuts) if row < old[1] - 1]}
    for export in (by_kernels, by_torch):
        result = export(grids, slabs(sums, weights, **cutting), regions)  # type: ignore[arg-type]
        np.testing.assert_array_equal(result, expected, err_msg=export.__name__)


@pytest.mark.parametrize(("classes", "dtype"), [(256, np.uint8), (257, np.uint16), (300, np.uint16)])
def test_many_classes(classes: int, dtype: type) -> None:
    grids = Grids.of((4, 5, 6), (5, 9, 11))
    logits = np.random.default_rng(classes).normal(size=(classes, 4, 5, 6)).astype(np.float32)
    logits[-1, 1:3] += 9
    for export in (by_kernels, by_torch):
        result = export(grids, slabs(logits, np.ones_like(logits[0])), None)
        assert result.dtype == dtype
        assert result.max() == classes - 1
        np.testing.assert_array_equal(result, grids.label_map(logits, None))


def test_regions_with_large_values() -> None:
    grids = Grids.of((4, 5, 6), (5, 9, 11))
    logits = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    for export in (by_kernels, by_torch):
        result = export(grids, slabs(logits, np.ones_like(logits[0])), (1, 700, 2))
        assert result.dtype == np.uint16
        assert set(np.unique(result)) == {0, 1, 2, 700}
        np.testing.assert_array_equal(result, grids.label_map(logits, (1, 700, 2)))


@pytest.mark.parametrize("classes", [3, 60])
@pytest.mark.parametrize("new", [(9, 30, 31), (4, 20, 21), (3, 11, 13)])
def test_pieces_of_work_of_any_size(classes: int, new: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several threads share the rows of a plane, and a GPU takes few voxels at a time."""
    grids = Grids.of((4, 20, 21), new)
    logits = np.random.default_rng(classes).normal(size=(classes, 4, 20, 21)).astype(np.float32)
    monkeypatch.setattr(host, "_TASK_SUMS", 3 * 21 * classes)
    monkeypatch.setattr(device, "_NUMBERS", 1000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for export in (by_kernels, by_torch):
        result = export(grids, slabs(logits, np.ones_like(logits[0])), None)
        np.testing.assert_array_equal(result, grids.label_map(logits, None))


def test_any_layout_of_memory_and_strips_side_by_side() -> None:
    grids = Grids.of((6, 9, 6), (7, 12, 11))
    logits = np.random.default_rng(0).normal(size=(5, 6, 9, 6)).astype(np.float32)
    weights = np.ones_like(logits[0])
    result = by_kernels(grids, slabs(logits, weights, classes_last=False), None)
    np.testing.assert_array_equal(result, grids.label_map(logits, None))

    export = LabelExport(grids.properties, grids.plan, grids.configuration)
    for start in range(6):  # one plane of each strip in turn
        for first, last in ((4, 9), (0, 5)):
            part = torch.from_numpy(logits[:, start : start + 1, first:last].copy())
            export.add(Slab(part, torch.ones(part.shape[1:]), start, Strip(first, last)))
    np.testing.assert_array_equal(export.label_map(), grids.label_map(logits, None))


def test_an_unfinished_label_map_is_refused() -> None:
    grids = Grids.of((6, 9, 6), (7, 12, 11))
    export = LabelExport(grids.properties, grids.plan, grids.configuration)
    with pytest.raises(ValueError, match="no slab"):
        export.label_map()
    logits = np.zeros((2, 6, 9, 6), np.float32)
    parts = list(itertools.islice(slabs(logits, np.ones_like(logits[0]), height=5), 1))
    export.add(parts[0])
    with pytest.raises(ValueError, match="rows of the label map are missing"):
        export.label_map()


def test_values_that_are_no_numbers_do_no_harm() -> None:
    """The sliding window refuses them; here they must only not reach beyond an array."""
    grids = Grids.of((3, 4, 5), (5, 7, 9))
    logits = np.full((20, 3, 4, 5), np.nan, np.float32)
    logits[3, 1] = np.inf
    assert by_kernels(grids, slabs(logits, np.ones_like(logits[0])), None).max() < 20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("regions", [None, (2, 300, 1, 3)])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_gpu_decides_the_same(spacing: tuple[float, ...], regions: Sequence[int] | None) -> None:
    new = (8, 19, 17) if len(spacing) == 3 else (7, 19, 17)
    for kind in KINDS:
        grids = Grids.of((7, 12, 9), new, spacing, margin=1)
        logits = make_logits(kind, (4, 7, 12, 9), np.random.default_rng(0))
        export = LabelExport(grids.properties, grids.plan, grids.configuration, regions)
        for slab in slabs(logits, np.ones_like(logits[0]), strips=(5,)):
            export.add(Slab(slab.sums.cuda(), slab.weights.cuda(), slab.start, slab.strip))
        np.testing.assert_array_equal(export.label_map(), grids.label_map(logits, regions))
