from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from umseg.dataset.instances import find_instances, instance_classes
from umseg.dataset.io.images import read_label

widths = st.integers(1, 3)


@st.composite
def discs(draw: st.DrawFn) -> np.ndarray:
    """(z, y, x): a grid of discs (balls), apart or up to touching; each has an interior at a width of up to 3."""
    axes = draw(st.sampled_from([2, 3]))
    pitch = draw(st.integers(11, 15))
    counts = draw(st.tuples(*[st.integers(1, 3)] * axes))
    instances = np.zeros((1,) * (3 - axes) + tuple(pitch * count for count in counts), np.int32)
    grid = np.indices(instances.shape)
    numbers = draw(st.permutations(range(1, int(np.prod(counts)) + 1)))
    for number, place in zip(numbers, np.ndindex(*counts), strict=True):
        # A voxel further apart or not, so that neighbours meet in the middle, or nearly.
        radius = draw(st.sampled_from([5.0, (pitch - 1) / 2, pitch / 2]))
        centre = (0,) * (3 - axes) + tuple(pitch * index + pitch // 2 for index in place)
        distance = np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)))
        instances[(distance <= radius) & (instances == 0)] = number
    return instances


def same_up_to_names(one: np.ndarray, other: np.ndarray) -> bool:
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return bool(pairs.shape[1] == len(np.unique(one)) == len(np.unique(other)) and ((pairs > 0).sum(0) != 1).all())


def test_touching_objects_are_kept_apart() -> None:
    instances = np.zeros((1, 7, 11), np.int16)
    instances[0, 1:6, 1:5] = 40
    instances[0, 1:6, 5:10] = 7
    classes = instance_classes(instances, 1)
    expected = [
        "00000000000",
        "02222222220",
        "02112211120",
        "02112211120",
        "02112211120",
        "02222222220",
        "00000000000",
    ]
    assert ["".join(map(str, row)) for row in classes[0]] == expected


@pytest.mark.parametrize("width", [1, 2, 3])
def test_width_is_the_thickness_of_the_boundary(width: int) -> None:
    instances = np.zeros((1, 1, 20), np.int32)
    instances[..., 3:17] = 5
    classes = instance_classes(instances, width)[0, 0]
    assert np.flatnonzero(classes == 2).tolist() == [*range(3, 3 + width), *range(17 - width, 17)]
    assert (classes == 1).sum() == 14 - 2 * width


def test_object_that_the_image_cuts_has_no_boundary_there() -> None:
    classes = instance_classes(np.ones((4, 4, 4), np.int8), 2)
    assert (classes == 1).all()


def test_volumes_have_boundaries_in_all_directions() -> None:
    instances = np.zeros((7, 7, 7), np.int16)
    instances[1:6, 1:6, 1:6] = 1
    classes = instance_classes(instances, 1)
    assert (classes == 1).sum() == 27
    assert (classes == 2).sum() == 125 - 27


@settings(deadline=None)
@given(discs(), widths)
def test_discs_are_found_again(instances: np.ndarray, width: int) -> None:
    """Conversion and back gives the same objects voxel by voxel, under other numbers, however close they are."""
    found = find_instances(instance_classes(instances, width))
    assert same_up_to_names(found, instances)


@settings(deadline=None)
@given(hnp.arrays(np.int8, st.tuples(*[st.integers(1, 7)] * 3), elements=st.integers(0, 2)))
def test_every_voxel_of_the_foreground_belongs_to_a_connected_object(classes: np.ndarray) -> None:
    found = find_instances(classes)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found > 0, classes > 0)
    assert sorted(np.unique(found[found > 0])) == list(range(1, int(found.max()) + 1))
    for number in range(1, int(found.max()) + 1):
        assert ndimage.label(found == number, np.ones((3, 3, 3)))[1] == 1
    # Interiors are neither joined nor split.
    pieces, count = ndimage.label(classes == 1, np.ones((3, 3, 3)))
    assert len({(int(a), int(b)) for a, b in zip(pieces[classes == 1], found[classes == 1], strict=True)}) == count
    assert len(np.unique(found[classes == 1])) == count


@settings(deadline=None)
@given(hnp.arrays(np.int8, st.tuples(*[st.integers(1, 7)] * 3), elements=st.integers(0, 2)))
def test_objects_grow_at_the_same_pace_to_the_nearest_neighbour_first(classes: np.ndarray) -> None:
    """Against the definition: whole rounds over the whole image, and in each the faces before edges before corners."""
    grown, count = ndimage.label(classes == 1, np.ones((3, 3, 3)))
    steps = sorted(itertools.product((-1, 0, 1), repeat=3), key=lambda step: np.abs(step).sum())
    while True:
        padded, reached = np.pad(grown, 1), grown.copy()
        for step in steps:
            neighbour = padded[tuple(slice(1 + d, 1 + d + n) for d, n in zip(step, classes.shape, strict=True))]
            reached = np.where((reached == 0) & (classes == 2), neighbour, reached)
        if (reached == grown).all():
            break
        grown = reached
    found = find_instances(classes)
    np.testing.assert_array_equal(np.where(found <= count, found, 0), grown)


def test_a_large_boundary_takes_no_longer_than_its_voxels() -> None:
    """One seed in a corner takes as many rounds as the image is wide; visiting all waiting voxels in each took 40 s."""
    classes = np.full((1, 1024, 1024), 2, np.int8)
    classes[0, 0, 0] = 1
    begun = time.process_time()
    assert (find_instances(classes) == 1).all()
    assert time.process_time() - begun < 5


def test_an_object_without_interior_is_an_object() -> None:
    classes = np.zeros((1, 6, 9), np.int8)
    classes[0, 1:3, 1:3] = 2
    classes[0, 1:4, 5:8] = 2
    classes[0, 2, 6] = 1
    found = find_instances(classes)
    assert len(np.unique(found)) == 3
    assert len(np.unique(found[0, 1:4, 5:8])) == 1


def test_nothing_is_no_object() -> None:
    assert not find_instances(np.zeros((2, 3, 4), np.int8)).any()


def test_many_objects_need_wider_numbers() -> None:
    classes = np.zeros((1, 600, 600), np.int8)
    classes[0, ::2, ::2] = 1
    found = find_instances(classes)
    assert found.dtype == np.uint32
    assert found.max() == 90_000


def test_nuclei_are_found_again(shared: Path) -> None:
    """Nearly all nuclei are found: thin ones may fall to pieces, and one as small as the boundary may join another."""
    files = sorted((shared / "data" / "Dataset703_DSB2018" / "instances").iterdir())[::48]
    for file in files:
        instances = read_label(file).array
        found = find_instances(instance_classes(instances, 2))
        assert abs(len(np.unique(found)) - len(np.unique(instances))) <= 1 + 0.03 * len(np.unique(instances)), file
        np.testing.assert_array_equal(found > 0, instances > 0)
