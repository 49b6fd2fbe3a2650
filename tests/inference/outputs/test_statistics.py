"""Statistics have the places, sizes and intensities that SimpleITK and nibabel find, in every orientation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from tests.inference.outputs.segmented import describe, segmented
from tests.orientations import AFFINE, ALL, write_along
from umseg.dataset.io.grid import Geometry
from umseg.inference.outputs.statistics import StatisticsOutput, case_statistics, disjoint, statistics_file
from umseg.inference.outputs.statistics_records import CaseStatistics, StructureStatistics


def two_blocks() -> NDArray[np.uint8]:
    """An organ of 4 x 3 x 2 voxels away from the border, and a tumour of two pieces, one of them at the border."""
    label_map = np.zeros((9, 8, 7), np.uint8)
    label_map[2:6, 1:4, 3:5] = 1
    label_map[6, 6, 5] = 2
    label_map[8, 2:5, 1] = 2
    return label_map


def intensities(shape: tuple[int, ...] = (9, 8, 7)) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(40, 9, shape).astype(np.float32)


def write_and_read(image: Path, label: Path, folder: Path, **options: Any) -> CaseStatistics:
    result = segmented(image, label, options.pop("description", None))
    output = StatisticsOutput(**options)
    output.write(result, folder)
    (path,) = output.files(result.case, folder)
    return CaseStatistics.load(path, "")


@pytest.fixture(scope="module")
def expected_places() -> list[NDArray[Any]]:
    """Centroids of the two classes along RAS, as nibabel's affine gives them."""
    label_map = two_blocks()
    return [AFFINE[:3, :3] @ np.argwhere(label_map == value).mean(axis=0)[::-1] + AFFINE[:3, 3] for value in (1, 2)]


@pytest.mark.parametrize("axes", ALL)
def test_places_are_the_same_in_every_orientation(
    axes: str, tmp_path: Path, expected_places: list[NDArray[Any]]
) -> None:
    image = write_along(tmp_path / "case_0000.nii", intensities(), axes)
    label = write_along(tmp_path / "label.nii", two_blocks(), axes)
    found = write_and_read(image, label, tmp_path)
    assert found.axes == axes
    for entry, place in zip(found.classes, expected_places, strict=True):
        assert entry.centroid_ras_mm == pytest.approx(place, abs=1e-4)
    organ = found.classes[0]
    assert organ.extent_mm is not None
    along = dict(zip(axes, (organ.extent_mm.x, organ.extent_mm.y, organ.extent_mm.z), strict=True))
    sizes = {side: length for sides, length in (("RL", 3.0), ("AP", 2.4), ("SI", 8.0)) for side in sides}
    assert along == pytest.approx({side: sizes[side] for side in axes})


def oblique(path: Path, values: NDArray[Any]) -> Path:
    """A file whose axes are turned by 20 and 35 degrees, with another spacing along each."""
    a, b = math.radians(20), math.radians(35)
    about_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 1.1, 2.5))
    image.SetOrigin((-12.5, 40.0, 3.25))
    image.SetDirection((about_z @ about_x).ravel())
    sitk.WriteImage(image, str(path))
    return path


def test_an_oblique_case_is_measured_as_by_simpleitk(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = (rng.integers(1, 3, (9, 8, 7)) * (rng.random((9, 8, 7)) < 0.2)).astype(np.uint8)
    image, label = oblique(tmp_path / "case_0000.mha", intensities()), oblique(tmp_path / "label.mha", values)
    found = write_and_read(image, label, tmp_path)
    label_map, read = sitk.ReadImage(str(label)), sitk.ReadImage(str(image))
    shapes, levels = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelIntensityStatisticsImageFilter()
    shapes.Execute(label_map)
    levels.Execute(label_map, read)
    for entry in found.classes:
        value = entry.value
        left, back, top = shapes.GetCentroid(value)
        assert entry.centroid_ras_mm == pytest.approx((-left, -back, top), abs=1e-9)
        assert entry.volume_ml == pytest.approx(shapes.GetPhysicalSize(value) / 1000)
        assert entry.voxels == shapes.GetNumberOfPixels(value)
        assert entry.box is not None
        assert entry.box.z is not None
        box = (*entry.box.x, *entry.box.y, *entry.box.z)
        starts, sizes = shapes.GetBoundingBox(value)[:3], shapes.GetBoundingBox(value)[3:]
        assert box[::2] == starts
        assert box[1::2] == tuple(np.add(starts, sizes))
        (channel,) = entry.intensities
        assert channel.mean == pytest.approx(levels.GetMean(value), rel=1e-9)
        # SimpleITK divides by one less than the number of voxels.
        assert channel.sd == pytest.approx(
            levels.GetStandardDeviation(value) * math.sqrt(1 - 1 / entry.voxels), rel=1e-9
        )
        assert (channel.min, channel.max) == (levels.GetMinimum(value), levels.GetMaximum(value))
        pieces = sitk.ConnectedComponent(label_map == value, True)
        assert entry.components == len(np.unique(sitk.GetArrayViewFromImage(pieces))) - 1


def test_borders_and_pieces_are_told(tmp_path: Path) -> None:
    image = write_along(tmp_path / "case_0000.nii", intensities(), "RAS")
    label = write_along(tmp_path / "label.nii", two_blocks(), "RAS")
    found = write_and_read(image, label, tmp_path)
    organ, tumour = found.classes
    assert (organ.touches_border, tumour.touches_border) == (False, True)
    assert (organ.components, tumour.components, tumour.largest_component_voxels) == (1, 2, 3)
    assert found.connectivity == 26
    assert organ.volume_ml == pytest.approx(24 * 1.5 * 0.8 * 2 / 1000)


def test_a_class_without_a_voxel_is_listed(tmp_path: Path) -> None:
    image = write_along(tmp_path / "case_0000.nii", intensities(), "RAS")
    empty = segmented(image, np.zeros((9, 8, 7), np.uint8))
    StatisticsOutput().write(empty, tmp_path)
    found = CaseStatistics.load(statistics_file("case", tmp_path), "")
    assert [(entry.name, entry.voxels, entry.volume_ml, entry.box) for entry in found.classes] == [
        ("organ", 0, 0.0, None),
        ("tumour", 0, 0.0, None),
    ]


def test_only_chosen_classes_are_measured(tmp_path: Path) -> None:
    image = write_along(tmp_path / "case_0000.nii", intensities(), "RAS")
    label = write_along(tmp_path / "label.nii", two_blocks(), "RAS")
    found = write_and_read(image, label, tmp_path, classes=("tumour",))
    assert [(entry.name, entry.value, entry.voxels) for entry in found.classes] == [("tumour", 2, 4)]


def test_regions_are_measured_whole_though_they_overlap() -> None:
    description = describe(
        {"background": 0, "whole": (1, 2, 3), "core": (2, 3), "active": (3,)}, regions_class_order=(1, 2, 3)
    )
    row = np.array([[[0, 1, 2, 3, 3, 1, 0, 1]]], np.uint8)
    image = np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)
    grid = Geometry((8, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    found = case_statistics("case", row, image, grid, description)
    assert [(entry.name, entry.value, entry.voxels, entry.components) for entry in found.classes] == [
        ("whole", (1, 2, 3), 6, 2),
        ("core", (2, 3), 3, 1),
        ("active", 3, 2, 1),
    ]
    assert [entry.intensities[0].mean for entry in found.classes] == [pytest.approx(22 / 6), 3.0, 3.5]


def test_classes_that_share_no_value_are_measured_together() -> None:
    groups = disjoint({"whole": (1, 2, 3), "core": (2, 3), "rim": (1,), "active": (3,)})
    assert [list(group) for group in groups] == [["whole"], ["core", "rim"], ["active"]]
    assert len(disjoint({str(value): (value,) for value in range(200)})) == 1


def test_objects_of_a_picture_are_measured_one_by_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "cell_0000.png")
    objects = np.zeros((1, 20, 30), np.uint16)
    objects[0, 5:9, 10:16] = 1
    objects[0, 9:12, 10:16] = 3
    objects[0, 19, 0:2] = 4
    description = describe(
        {"background": 0, "nucleus": 1}, channels=("R", "G", "B"), task="instance",
    )  # fmt: skip
    StatisticsOutput().write(segmented(tmp_path / "cell_0000.png", objects, description), tmp_path)
    found = CaseStatistics.load(statistics_file("cell", tmp_path), "")
    assert (found.classes, found.unit, found.spacing, found.axes, found.connectivity) == ((), None, None, None, 8)
    assert found.size.z is None
    assert [(entry.name, entry.value, entry.voxels, entry.touches_border) for entry in found.objects] == [
        ("nucleus", 1, 24, False),
        ("nucleus", 3, 18, False),
        ("nucleus", 4, 2, True),
    ]
    first = found.objects[0]
    assert first.box is not None
    assert (first.box.x, first.box.y, first.box.z) == ((10, 16), (5, 9), None)
    assert first.centroid is not None
    assert (first.centroid.x, first.centroid.y, first.centroid.z) == (12.5, 6.5, None)
    assert first.diameter_px == pytest.approx(2 * math.sqrt(24 / math.pi))
    assert (first.diameter_mm, first.extent_mm, first.volume_ml, first.area_mm2) == (None,) * 4
    inside = colours[5:9, 10:16].reshape(-1, 3)
    assert [channel.channel for channel in first.intensities] == ["R", "G", "B"]
    np.testing.assert_allclose([channel.mean for channel in first.intensities], inside.mean(axis=0))
    np.testing.assert_allclose([channel.sd for channel in first.intensities], inside.std(axis=0))


def measured(unit: str | None, size: tuple[int, ...] = (4, 3, 1)) -> StructureStatistics:
    """Two voxels of a grid."""
    axes = len(size)
    grid = Geometry(size, (0.5, 2.0, 3.0)[:axes], (0.0,) * axes, tuple(np.eye(axes).ravel()), unit)  # type: ignore[arg-type]
    label_map = np.zeros(grid.shape, np.uint8)
    label_map[0, 1, 1:3] = 1
    return case_statistics("case", label_map, np.zeros((1, *grid.shape), np.float32), grid, describe()).classes[0]


@pytest.mark.parametrize(
    ("unit", "size", "volume", "area", "extent"),
    [
        ("mm", (4, 3, 2), 0.006, None, {"x": 1.0, "y": 2.0, "z": 3.0}),
        ("mm", (4, 3, 1), None, 2.0, {"x": 1.0, "y": 2.0, "z": 3.0}),
        ("mm", (4, 3), None, 2.0, {"x": 1.0, "y": 2.0}),
        ("px", (4, 3, 2), None, None, None),
        (None, (4, 3), None, None, None),
    ],
)
def test_sizes_are_given_where_the_file_states_them(
    unit: str | None, size: tuple[int, ...], volume: float | None, area: float | None, extent: dict[str, float] | None
) -> None:
    entry = measured(unit, size)
    assert entry.volume_ml == (None if volume is None else pytest.approx(volume))
    assert entry.area_mm2 == area
    assert (entry.extent_mm.model_dump(mode="json") if entry.extent_mm else None) == extent


def test_the_diameter_of_an_object_is_that_of_the_ball_of_its_volume() -> None:
    description = describe({"background": 0, "cell": 1}, task="instance")
    z, y, x = np.ogrid[:41, :41, :41]
    ball = (((z - 20) ** 2 + (y - 20) ** 2 + (x - 20) ** 2) <= 15**2).astype(np.uint16)
    grid = Geometry(ball.shape, (0.2, 0.2, 0.2), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    (entry,) = case_statistics("case", ball, np.zeros((1, *ball.shape)), grid, description).objects
    assert entry.diameter_px == pytest.approx(30, rel=0.01)
    assert entry.diameter_mm == pytest.approx(6, rel=0.01)


def test_a_place_is_left_out_where_the_header_states_none(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(intensities().T, None)
    image.header["qform_code"], image.header["sform_code"] = 0, 0
    nibabel.save(image, tmp_path / "case_0000.nii")
    StatisticsOutput().write(segmented(tmp_path / "case_0000.nii", two_blocks()), tmp_path)
    found = CaseStatistics.load(statistics_file("case", tmp_path), "")
    assert found.axes is None
    assert found.classes[0].centroid_ras_mm is None
    assert found.classes[0].centroid is not None


def test_a_file_without_confidence_does_not_mention_it(tmp_path: Path) -> None:
    image = write_along(tmp_path / "case_0000.nii", intensities(), "RAS")
    StatisticsOutput().write(segmented(image, two_blocks()), tmp_path)
    (first, *_) = json.loads(statistics_file("case", tmp_path).read_text())["classes"]
    assert "confidence" not in first


def test_real_label_maps_have_the_recorded_sizes_and_intensities(shared: Path) -> None:
    folder = shared / "data" / "samples"
    recorded = json.loads((folder / "stats.json").read_text())["ts_ct_sm"]["structures"]
    labels = {"background": 0, **{f"class {value}": value for value in range(1, 118)}}
    files = folder / "totalsegmentator"
    case = segmented(files / "images" / "ts_ct_sm_0000.nii.gz", files / "labels" / "ts_ct_sm.nii.gz", describe(labels))
    found = case_statistics("case", case.label_map, case.read_image(), case.geometry, case.description)
    by_value = {entry.value: entry for entry in found.classes}
    assert len(recorded) == 41
    for entry in recorded.values():
        assert by_value[entry["value"]].voxels == entry["voxels"]
        assert by_value[entry["value"]].intensities[0].mean == pytest.approx(entry["mean_intensity"], abs=0.051)
    assert sum(entry.voxels > 0 for entry in found.classes) == 41
