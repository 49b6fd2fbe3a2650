# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.builder import write_image
from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import count_components, read_image, read_label, write_label

# A rotation about z, so that no axis is aligned with the patient's.
OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def noise(shape: tuple[int, ...], dtype: type = np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 200, shape).astype(dtype)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd"])
def test_volume_keeps_values_axis_order_and_geometry(tmp_path: Path, ending: str) -> None:
    values = noise((4, 5, 6))
    path = write_image(tmp_path / f"a{ending}", values, (0.5, 0.7, 3.0), (10.0, -20.0, 30.0), OBLIQUE)
    image = read_image([path])
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array, values[None].astype(np.float32))
    assert image.spacing == pytest.approx((3.0, 0.7, 0.5), rel=1e-6)
    assert image.geometry.size == (6, 5, 4)
    assert image.geometry.origin == pytest.approx((10.0, -20.0, 30.0), rel=1e-6)
    assert image.geometry.direction == pytest.approx(OBLIQUE, abs=1e-6)


def test_array_outlives_the_file_object_and_may_be_changed(tmp_path: Path) -> None:
    values = noise((4, 5, 6), np.float32)
    path = write_image(tmp_path / "a.nii.gz", values)
    image = read_image([path])
    path.unlink()
    image.array[:] += 1
    np.testing.assert_array_equal(image.array[0], values + 1)


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_colours_become_channels(tmp_path: Path, ending: str) -> None:
    values = noise((7, 9, 3), np.uint8)
    path = write_image(tmp_path / f"a{ending}", values, is_vector=True)
    image = read_image([path])
    np.testing.assert_array_equal(image.array[:, 0], np.moveaxis(values, -1, 0))
    assert image.spacing == (999.0, 1.0, 1.0)
    assert count_components(path) == 3


def test_transparency_counts_as_a_channel(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", noise((7, 9, 4), np.uint8), is_vector=True)
    assert read_image([path]).array.shape == (4, 1, 7, 9)


def test_natural_images_have_no_physical_size(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.tif", noise((7, 9), np.uint8), (0.2, 0.3))
    assert read_image([path]).spacing == (999.0, 1.0, 1.0)


def test_medical_2d_file_keeps_its_spacing_with_the_slice_axis_coarsest(tmp_path: Path) -> None:
    image = read_image([write_image(tmp_path / "a.mha", noise((7, 9)), (0.2, 0.5))])
    assert image.array.shape == (1, 1, 7, 9)
    assert image.spacing == pytest.approx((499.5, 0.5, 0.2))
    assert image.geometry.dimensions == 2
    assert image.geometry.shape == (1, 7, 9)


def test_channel_files_are_stacked_in_order(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"a_{i:04d}.nii.gz", noise((4, 5, 6)) + i) for i in range(3)]
    array = read_image(paths).array
    assert array.shape == (3, 4, 5, 6)
    np.testing.assert_array_equal(array[2], array[0] + 2)


def test_channels_of_different_size_are_refused(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / "a_0000.nii.gz", noise((4, 5, 6)))]
    paths.append(write_image(tmp_path / "a_0001.nii.gz", noise((4, 5, 7))))
    with pytest.raises(UserError, match="differ in size") as raised:
        read_image(paths)
    assert raised.value.file == str(paths[1])
    assert raised.value.found == "size 7 x 5 x 4"
    assert "6 x 5 x 4" in str(raised.value.expected)


def test_channels_of_different_spacing_are_refused(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / "a_0000.nii.gz", noise((4, 5, 6)), (1.0, 1.0, 1.0))]
    paths.append(write_image(tmp_path / "a_0001.nii.gz", noise((4, 5, 6)), (1.0, 1.0, 1.1)))
    with pytest.raises(UserError, match="differ in spacing"):
        read_image(paths)


def test_rounding_of_spacing_in_headers_is_tolerated(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / "a_0000.mha", noise((4, 5, 6)), (1.0, 1.0, 1.0))]
    paths.append(write_image(tmp_path / "a_0001.mha", noise((4, 5, 6)), (1.0, 1.0, 1.0001)))
    assert read_image(paths).array.shape[0] == 2


def test_colour_file_among_channel_files_is_refused(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / "a_0000.png", noise((5, 6), np.uint8))]
    paths.append(write_image(tmp_path / "a_0001.png", noise((5, 6, 3), np.uint8), is_vector=True))
    with pytest.raises(UserError, match="several components"):
        read_image(paths)


def test_4d_image_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    sitk.WriteImage(sitk.JoinSeries([sitk.Image(4, 5, 6, sitk.sitkInt16)] * 2), str(path))
    with pytest.raises(UserError, match="4 dimensions") as raised:
        read_image([path])
    assert raised.value.found == "size 4 x 5 x 6 x 2"
    assert "CASE_0001" in str(raised.value.remedy)
    assert "umseg convert msd" in str(raised.value.remedy)


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
def test_4d_image_of_one_volume_is_a_3d_image(tmp_path: Path, ending: str) -> None:
    values = noise((4, 5, 6))
    volume = sitk.GetImageFromArray(values)
    volume.SetSpacing((0.5, 0.7, 3.0))
    volume.SetOrigin((1.0, 2.0, 3.0))
    sitk.WriteImage(sitk.JoinSeries([volume]), str(tmp_path / f"a{ending}"))
    image = read_image([tmp_path / f"a{ending}"])
    np.testing.assert_array_equal(image.array[0], values)
    assert image.geometry.size == (6, 5, 4)
    assert image.geometry.spacing == pytest.approx((0.5, 0.7, 3.0))
    assert image.geometry.origin == pytest.approx((1.0, 2.0, 3.0))
    assert len(image.geometry.direction) == 9


def test_complex_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    sitk.WriteImage(sitk.Image(4, 5, 6, sitk.sitkComplexFloat32), str(path))
    with pytest.raises(UserError, match="complex"):
        read_image([path])


@pytest.mark.parametrize("reader", [lambda path: read_image([path]), read_label, count_components])
def test_missing_file_is_named(tmp_path: Path, reader: object) -> None:
    with pytest.raises(UserError, match="does not exist") as raised:
        reader(tmp_path / "a_0000.nii.gz")  # type: ignore[operator]
    assert raised.value.file == str(tmp_path / "a_0000.nii.gz")


def test_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist") as raised:
        read_image([tmp_path])
    assert raised.value.found == "a folder"


@pytest.mark.parametrize("name", ["a.nii.gz", "a.png", "a.mha"])
@pytest.mark.parametrize("content", [b"", b"this is no image"])
def test_file_that_is_no_image_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="damaged") as raised:
        read_image([tmp_path / name])
    assert raised.value.file == str(tmp_path / name)
    assert raised.value.remedy


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 5, 6), (5, 6)])
def test_nan_and_infinity_are_not_hidden(tmp_path: Path, ending: str, dtype: type, shape: tuple[int, ...]) -> None:
    values: np.ndarray = np.random.default_rng(0).normal(size=shape).astype(dtype)
    values.flat[[1, 2, 3]] = np.nan, np.inf, -np.inf
    path = write_image(tmp_path / f"a{ending}", values, (0.5, 0.6, 0.7)[: len(shape)])
    image = read_image([path])
    np.testing.assert_array_equal(image.array.squeeze(), values.astype(np.float32))
    assert image.geometry.spacing == pytest.approx((0.5, 0.6, 0.7)[: len(shape)])


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_scale_factors_in_the_header_are_applied(tmp_path: Path, dtype: type) -> None:
    path = write_image(tmp_path / "a.nii", noise((4, 5, 6), dtype))
    content = bytearray(path.read_bytes())
    # scl_slope and scl_inter of the NIfTI-1 header
    content[112:120] = struct.pack("<ff", 2.0, -100.0)
    path.write_bytes(bytes(content))
    np.testing.assert_array_equal(read_image([path]).array[0], noise((4, 5, 6)) * 2.0 - 100)


def test_integral_float_labels_are_accepted(tmp_path: Path) -> None:
    values = np.zeros((4, 5, 6), dtype=np.float32)
    values[1, 2, 3] = 2
    label = read_label(write_image(tmp_path / "a.nii.gz", values))
    assert label.array.dtype == np.int8
    np.testing.assert_array_equal(label.array, values.astype(np.int8))


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_fractional_labels_are_refused(tmp_path: Path, value: float) -> None:
    values = np.zeros((4, 5, 6), dtype=np.float32)
    values[1, 2, 3] = value
    with pytest.raises(UserError, match="not whole numbers"):
        read_label(write_image(tmp_path / "a.nii.gz", values))


@pytest.mark.parametrize(
    ("highest", "dtype"), [(127, np.int8), (128, np.int16), (40_000, np.int32), (3_000_000_000, np.int64)]
)
def test_labels_get_the_smallest_signed_type(tmp_path: Path, highest: int, dtype: type) -> None:
    values = np.zeros((4, 5, 6), dtype=np.uint32)
    values[0, 0, 0] = highest
    label = read_label(write_image(tmp_path / "a.mha", values))
    assert label.array.dtype == dtype
    assert label.array.max() == highest


def test_colour_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="several components"):
        read_label(write_image(tmp_path / "a.png", noise((5, 6, 3), np.uint8), is_vector=True))


def test_jpeg_labels_are_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.jpg", noise((5, 6), np.uint8))
    geometry = read_image([path]).geometry
    with pytest.raises(UserError, match="JPEG"):
        read_label(path)
    with pytest.raises(UserError, match="JPEG"):
        write_label(tmp_path / "b.jpg", np.zeros((1, 5, 6), np.int8), geometry)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd"])
def test_written_label_has_exactly_the_geometry_of_the_input(tmp_path: Path, ending: str) -> None:
    source = write_image(tmp_path / f"a{ending}", noise((4, 5, 6)), (0.123456, 0.7, 3.1), (1.7, -2.3, 1e-3), OBLIQUE)
    geometry = read_image([source]).geometry
    values = noise((4, 5, 6), np.int16) + 100
    write_label(tmp_path / f"b{ending}", values, geometry)
    label = read_label(tmp_path / f"b{ending}")
    np.testing.assert_array_equal(label.array, values)
    assert label.geometry.size == geometry.size
    # NIfTI stores a rotation as three float32 numbers, so one more round trip may move the last digits.
    for mine, theirs in zip(label.geometry.direction, geometry.direction, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)
    assert label.geometry.spacing == pytest.approx(geometry.spacing, rel=1e-6)
    assert label.geometry.origin == pytest.approx(geometry.origin, rel=1e-6)


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_2d_label_is_written_as_2d(tmp_path: Path, ending: str) -> None:
    geometry = read_image([write_image(tmp_path / f"a{ending}", noise((7, 9), np.uint8))]).geometry
    values = noise((1, 7, 9)) // 2
    write_label(tmp_path / f"b{ending}", values, geometry)
    label = read_label(tmp_path / f"b{ending}")
    np.testing.assert_array_equal(label.array, values)
    assert label.geometry.size == (9, 7)


@pytest.mark.parametrize(("highest", "pixel"), [(255, sitk.sitkUInt8), (256, sitk.sitkUInt16), (0, sitk.sitkUInt8)])
def test_written_label_has_the_smallest_unsigned_type(tmp_path: Path, highest: int, pixel: int) -> None:
    geometry = Geometry((6, 5, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    values = np.full((4, 5, 6), highest, dtype=np.int64)
    write_label(tmp_path / "a.nii.gz", values, geometry)
    assert sitk.ReadImage(str(tmp_path / "a.nii.gz")).GetPixelID() == pixel


def test_wrong_arrays_are_not_written(tmp_path: Path) -> None:
    geometry = Geometry((6, 5, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    with pytest.raises(ValueError, match="shape"):
        write_label(tmp_path / "a.nii.gz", np.zeros((6, 5, 4), np.int8), geometry)
    with pytest.raises(ValueError, match="at least 0"):
        write_label(tmp_path / "a.nii.gz", np.full((4, 5, 6), -1, np.int8), geometry)
    assert list(tmp_path.iterdir()) == []


def test_failed_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    geometry = Geometry((9, 7), (1.0, 1.0), (0.0, 0.0), (1.0, 0, 0, 1.0))
    (tmp_path / "a.bmp").write_bytes(b"old")
    # Bitmaps hold one byte per voxel.
    with pytest.raises(UserError, match="cannot be written in this format"):
        write_label(tmp_path / "a.bmp", np.full((1, 7, 9), 300, np.int16), geometry)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bmp", b"old")]


def test_gzip_of_a_truncated_volume_is_refused(tmp_path: Path) -> None:
    whole = write_image(tmp_path / "a.nii", noise((10, 20, 30)))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(whole.read_bytes()[:8000]))
    with pytest.raises(UserError, match="damaged") as raised:
        read_image([tmp_path / "b.nii.gz"])
    assert "8000 bytes" in str(raised.value.found)


def test_concatenated_gzip_members_are_one_file(tmp_path: Path) -> None:
    values = noise((10, 20, 30))
    content = write_image(tmp_path / "a.nii", values).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]) + b"\0" * 9)
    np.testing.assert_array_equal(read_image([tmp_path / "b.nii.gz"]).array[0], values)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), ending=st.sampled_from([".nii.gz", ".nii", ".mha", ".nrrd", ".png", ".bmp", ".tif"]))
def test_truncated_file_is_refused_or_still_complete(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ending: str
) -> None:
    folder = tmp_path_factory.mktemp("truncated")
    flat = ending in (".png", ".bmp", ".tif")
    values = noise((30, 40) if flat else (10, 12, 14), np.uint8)
    path = write_image(folder / f"a{ending}", values)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    try:
        read = read_image([path]).array
    except UserError:
        return
    # A TIFF keeps remarks behind its pixels; nothing but such bytes may be missing.
    assert ending == ".tif"
    np.testing.assert_array_equal(read.squeeze(), values)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), ending=st.sampled_from([".nii.gz", ".mha", ".nrrd", ".png"]))
def test_flipped_bit_in_a_compressed_file_never_changes_the_image_silently(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ending: str
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    values = noise((30, 40) if ending == ".png" else (10, 12, 14), np.uint8)
    path = write_image(folder / f"a{ending}", values)
    content = bytearray(path.read_bytes())
    # Text headers carry no checksum; the compressed data behind them do.
    start = {".mha": content.find(b"LOCAL\n") + 6, ".nrrd": content.find(b"\n\n") + 2}.get(ending, 0)
    position = data.draw(st.integers(start, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    try:
        read = read_image([path]).array
    except UserError:
        return
    np.testing.assert_array_equal(read.squeeze(), values)


def test_wrong_gzip_checksum_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.nii.gz", noise((10, 12, 14)))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged"):
        read_image([path])


def test_hippocampus_label_stored_as_float_is_read(shared: Path) -> None:
    folder = shared / "data" / "Dataset004_Hippocampus"
    label = read_label(folder / "labelsTr" / "hippocampus_003.nii.gz")
    assert set(np.unique(label.array)) == {0, 1, 2}
    assert label.array.shape == read_image([folder / "imagesTr" / "hippocampus_003_0000.nii.gz"]).array.shape[1:]


def test_a_value_that_a_png_cannot_hold_is_refused(tmp_path: Path) -> None:
    geometry = Geometry((6, 5), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    values = np.full((1, 5, 6), 65535, np.uint32)
    write_label(tmp_path / "a.png", values, geometry)
    with pytest.raises(UserError, match="PNG file cannot hold") as caught:
        write_label(tmp_path / "b.png", values + 1, geometry)
    assert "65536" in str(caught.value.found)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    write_label(tmp_path / "b.tif", values + 1, geometry)
    assert read_label(tmp_path / "b.tif").array.max() == 65536
