"""Files of every kind that users bring, written by other libraries than the one that reads them here."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image as Picture

from tests.dataset.builder import write_image
from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import read_image, read_label, write_label


def noise(shape: tuple[int, ...], highest: int = 250, dtype: type = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(1, highest, shape).astype(dtype)


def save_nifti(path: Path, array: NDArray[Any], zooms: tuple[float, ...] = (0.5, 0.75, 2.0)) -> Path:
    """``array`` is (x, y, z), as nibabel has it."""
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*zooms, 1.0])), path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_nifti(tmp_path: Path, ending: str, dtype: type) -> None:
    values = noise((6, 5, 4), dtype=dtype)
    image = read_image([save_nifti(tmp_path / f"a{ending}", values)], 1)
    np.testing.assert_array_equal(image.array[0], values.T.astype(np.float32))
    assert image.spacing == pytest.approx((2.0, 0.75, 0.5))


@pytest.mark.parametrize("stored", [np.uint8, np.int16, np.float32])
def test_nifti_with_scaled_values(tmp_path: Path, stored: type) -> None:
    image = nibabel.Nifti1Image(noise((6, 5, 4), dtype=stored), np.eye(4))
    # nibabel chooses the factors by itself when it writes: they are changed in the finished file.
    image.to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[112:120] = np.array([0.25, -1024.0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    truth: Any = nibabel.load(tmp_path / "a.nii")
    read = read_image([tmp_path / "a.nii"], 1).array[0]
    np.testing.assert_array_equal(read, np.asarray(truth.dataobj).T.astype(np.float32))
    assert -1024 <= read.min() < read.max() <= -1024 + 63


@pytest.mark.parametrize("shape", [(6, 5, 1), (6, 1, 4), (1, 5, 4), (6, 5), (6, 5, 1, 1)])
def test_flat_nifti_keeps_its_flat_axis(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = noise(shape, dtype=np.int16)
    path = save_nifti(tmp_path / "a.nii.gz", values)
    image, label = read_image([path], 1), read_label(path)
    expected = values.reshape((*shape, 1)[:3]).T
    np.testing.assert_array_equal(image.array[0], expected)
    np.testing.assert_array_equal(label.array, expected)
    assert image.spacing[1:] == pytest.approx((0.75, 0.5))
    # A file that says it is 2-D has no slice thickness; one that holds a single slice has.
    assert image.spacing[0] == pytest.approx(999 * 0.75 if len(shape) == 2 else 2.0)


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".mhd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_metaimage_and_nrrd_are_read_as_their_text_header_says(tmp_path: Path, ending: str, dtype: type) -> None:
    values = noise((4, 5, 6), dtype=dtype)
    code: dict[type, tuple[str, str]] = {
        np.uint8: ("MET_UCHAR", "uint8"),
        np.int16: ("MET_SHORT", "int16"),
        np.float32: ("MET_FLOAT", "float"),
    }
    path = tmp_path / f"a{ending}"
    raw = values.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    if ending == ".nrrd":
        header = (
            f"NRRD0004\ntype: {code[dtype][1]}\ndimension: 3\nspace: left-posterior-superior\nsizes: 6 5 4\n"
            "space directions: (0.5,0,0) (0,0.75,0) (0,0,2)\nkinds: domain domain domain\nendian: little\n"
            "encoding: raw\nspace origin: (1,2,3)\n\n"
        )
    else:
        place = "LOCAL" if ending == ".mha" else "a.raw"
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nElementSpacing = 0.5 0.75 2\nDimSize = 6 5 4\n"
            f"ElementType = {code[dtype][0]}\nElementDataFile = {place}\n"
        )
    if ending == ".mhd":
        path.write_text(header)
        (tmp_path / "a.raw").write_bytes(raw)
    else:
        path.write_bytes(header.encode() + raw)
    image = read_image([path], 1)
    np.testing.assert_array_equal(image.array[0], values.astype(np.float32))
    assert image.spacing == pytest.approx((2.0, 0.75, 0.5))
    assert image.geometry.origin == pytest.approx((1, 2, 3))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_16_bit_pictures(tmp_path: Path, ending: str) -> None:
    values = noise((7, 9), 65_000, np.uint16)
    Picture.fromarray(values).save(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(read_image([tmp_path / f"a{ending}"], 1).array[0, 0], values)
    np.testing.assert_array_equal(read_label(tmp_path / f"a{ending}").array[0], values)


def test_float_tiff(tmp_path: Path) -> None:
    values = noise((7, 9), dtype=np.float32) / 7
    Picture.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image([tmp_path / "a.tif"], 1).array[0, 0], values)


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_colours(tmp_path: Path, ending: str) -> None:
    values = noise((7, 9, 3))
    Picture.fromarray(values).save(tmp_path / f"a{ending}")
    image = read_image([tmp_path / f"a{ending}"], 3)
    np.testing.assert_array_equal(image.array[:, 0], np.moveaxis(values, -1, 0))
    assert image.notices == ()


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("alpha", [255, 0])
def test_constant_transparency_is_dropped_with_a_notice(tmp_path: Path, ending: str, alpha: int) -> None:
    values = np.dstack([noise((7, 9, 3)), np.full((7, 9), alpha, np.uint8)])
    path = tmp_path / f"a{ending}"
    Picture.fromarray(values).save(path)
    image = read_image([path], 3)
    np.testing.assert_array_equal(image.array[:, 0], np.moveaxis(values[..., :3], -1, 0))
    (notice,) = image.notices
    assert notice.file == path
    assert notice.found == f"4 components, the last of them {alpha} everywhere"


@pytest.mark.parametrize(("declared", "alpha"), [(4, 255), (3, None), (2, 255), (1, 255), (None, 255)])
def test_components_that_mean_something_all_stay(tmp_path: Path, declared: int | None, alpha: int | None) -> None:
    values = noise((7, 9, 4))
    if alpha is not None:
        values[..., 3] = alpha
    Picture.fromarray(values).save(tmp_path / "a.png")
    image = read_image([tmp_path / "a.png"], declared)
    np.testing.assert_array_equal(image.array[:, 0], np.moveaxis(values, -1, 0))
    assert image.notices == ()


def test_fourth_component_of_a_medical_file_is_no_transparency(tmp_path: Path) -> None:
    values = np.dstack([noise((7, 9, 3)), np.full((7, 9), 255, np.uint8)])
    path = write_image(tmp_path / "a.mha", values, is_vector=True)
    assert read_image([path], 3).array.shape[0] == 4


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_greyscale_stored_as_colours_is_one_channel(tmp_path: Path, ending: str) -> None:
    values = noise((7, 9))
    Picture.fromarray(np.dstack([values] * 3)).save(tmp_path / f"a{ending}")
    image = read_image([tmp_path / f"a{ending}"], 1)
    np.testing.assert_array_equal(image.array[:, 0], values[None])
    assert [notice.found for notice in image.notices] == ["3 equal components"]


def test_greyscale_stored_as_colours_and_transparency(tmp_path: Path) -> None:
    values = noise((7, 9))
    Picture.fromarray(np.dstack([*[values] * 3, np.full((7, 9), 255, np.uint8)])).save(tmp_path / "a.png")
    image = read_image([tmp_path / "a.png"], 1)
    np.testing.assert_array_equal(image.array[:, 0], values[None])
    assert len(image.notices) == 2
    np.testing.assert_array_equal(read_label(tmp_path / "a.png").array[0], values)


def test_real_colours_are_not_made_grey(tmp_path: Path) -> None:
    Picture.fromarray(noise((7, 9, 3))).save(tmp_path / "a.png")
    assert read_image([tmp_path / "a.png"], 1).array.shape[0] == 3


def test_channel_files_may_each_be_grey_in_colours(tmp_path: Path) -> None:
    values, paths = noise((2, 7, 9)), [tmp_path / "a_0000.png", tmp_path / "a_0001.png"]
    for plane, path in zip(values, paths, strict=True):
        Picture.fromarray(np.dstack([plane] * 3)).save(path)
    image = read_image(paths, 2)
    np.testing.assert_array_equal(image.array[:, 0], values)
    assert [notice.file for notice in image.notices] == paths


def test_channels_in_other_places_are_noticed(tmp_path: Path) -> None:
    first = write_image(tmp_path / "a_0000.mha", noise((4, 5, 6)))
    second = write_image(tmp_path / "a_0001.mha", noise((4, 5, 6)), origin=(0.0, 3.0, 0.0))
    (notice,) = read_image([first, second], 2).notices
    assert (notice.file, notice.found) == (second, "origin 0, 3, 0 mm")


@pytest.mark.parametrize("name", ["a.hdr", "a.img", "a.img.gz", "a.gipl", "a.vtk", "a.mnc", "a.unknown", "a"])
def test_formats_that_are_not_listed_never_reach_a_library(tmp_path: Path, name: str) -> None:
    nibabel.save(nibabel.Nifti1Pair(noise((6, 5, 4)), np.eye(4)), tmp_path / "a.hdr")
    path = tmp_path / name
    if not path.exists():
        path.write_bytes((tmp_path / "a.hdr").read_bytes())
    geometry = Geometry((6, 5), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    before = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(sitk, "ImageFileReader")
        patch.delattr(sitk, "ImageFileWriter")
        for use in (
            lambda: read_image([path]),
            lambda: read_label(path),
            lambda: write_label(path, np.zeros((1, 5, 6), np.int8), geometry),
        ):
            with pytest.raises(UserError, match="neither read nor written") as raised:
                use()
    assert ".nii.gz, .nii, .mha" in str(raised.value.expected)
    assert ".nii.gz" in str(raised.value.remedy)
    assert path.read_bytes() == before


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_half_a_nifti_pair_is_refused_with_advice(tmp_path: Path, ending: str) -> None:
    nibabel.save(nibabel.Nifti1Pair(noise((6, 5, 4)), np.eye(4)), tmp_path / "a.hdr")
    header = (tmp_path / "a.hdr").read_bytes()
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(header) if ending == ".nii.gz" else header)
    with pytest.raises(UserError, match="voxels in another file") as raised:
        read_image([path])
    assert ".nii.gz" in str(raised.value.remedy)


def test_an_analyze_header_is_no_nifti_file(tmp_path: Path) -> None:
    nibabel.AnalyzeImage(noise((6, 5, 4), dtype=np.int16), np.eye(4)).to_filename(tmp_path / "a.hdr")
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.hdr").read_bytes() + bytes(1000))
    with pytest.raises(UserError, match="damaged") as raised:
        read_image([tmp_path / "a.nii"])
    assert "does not begin as a NIfTI file" in str(raised.value.found)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_nifti_of_both_versions_and_byte_orders(tmp_path: Path, kind: type, endianness: str) -> None:
    values = noise((6, 5, 4), dtype=np.int16)
    header = kind.header_class(endianness=endianness)  # type: ignore[attr-defined]
    nibabel.save(kind(values, np.eye(4), header), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image([tmp_path / "a.nii"]).array[0], values.T)


def _content_of(kind: str, folder: Path) -> bytes:
    """What a file of a kind holds, made by the library that writes it."""
    path = folder / f"made.{kind}"
    if kind in ("png", "jpg", "bmp", "tif", "webp", "gif"):
        Picture.fromarray(noise((6, 5))).save(path)
    elif kind in ("nrrd", "mha", "dcm"):
        sitk.WriteImage(sitk.GetImageFromArray(noise((6, 5))), str(path))
    elif kind == "npy":
        np.save(path, noise((6, 5)))
    elif kind == "html":
        path.write_text("\n<!DOCTYPE html><html>Sign in</html>")
    else:
        packed: dict[str, Callable[[bytes], bytes]] = {
            "xz": lzma.compress,
            "bz2": bz2.compress,
            "gz": gzip.compress,
            "nii": bytes,
        }
        path.write_bytes(packed[kind](save_nifti(folder / "plain.nii", noise((6, 5, 4))).read_bytes()))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "ending", "found", "remedy"),
    [
        ("jpg", ".png", "a JPEG file", "Rename the file to .jpg"),
        ("png", ".jpg", "a PNG file", "Rename the file to .png"),
        ("bmp", ".png", "a BMP file", "Rename the file to .bmp"),
        ("png", ".TIF", "a PNG file", "Rename the file to .png"),
        ("png", ".nrrd", "a PNG file", "Rename the file to .png"),
        ("tif", ".png", "a TIFF file", "Rename the file to .tif"),
        ("nrrd", ".nii.gz", "a NRRD file", "Rename the file to .nrrd"),
        ("mha", ".nrrd", "a MetaImage file", "Rename the file to .mha"),
        ("dcm", ".nii.gz", "a DICOM file", "Rename the file to .dcm"),
        ("nii", ".mha", "a NIfTI file", "Rename the file to .nii"),
        ("gz", ".nrrd", "a gzip file", "Decompress"),
        ("xz", ".nii.gz", "an xz file", "Decompress"),
        ("bz2", ".nii.gz", "a bzip2 file", "Decompress"),
        ("webp", ".png", "a WebP file", "Convert"),
        ("gif", ".bmp", "a GIF file", "Convert"),
        ("npy", ".nii", "a NumPy file", "Convert"),
        ("html", ".nii.gz", "a web page", "Download"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, kind: str, ending: str, found: str, remedy: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(_content_of(kind, tmp_path))
    with pytest.raises(UserError, match="another kind than its ending says") as raised:
        read_image([path])
    assert (raised.value.file, raised.value.found) == (str(path), found)
    assert remedy in str(raised.value.remedy)
