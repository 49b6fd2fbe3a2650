"""Every kind of NIfTI file, against the array that was written; the tables of docs/formats.md say what is read."""

from __future__ import annotations

import gzip
import struct
from itertools import product
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.dataset.io.formats.page import table_of
from umseg.common.errors import UserError
from umseg.dataset.io.images import count_components, read_geometry, read_image, read_label, write_label

NUMBERS = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
OTHERS = {"complex64": 32, "complex128": 1792, "complex256": 2048, "float128": 1536, "binary": 1, "unknown": 77}
SCALINGS = [(np.nan, 0.0), (0.0, 5.0), (1.0, 0.0), (0.5, -3.0), (1.0, -1024.0), (0.0117647061124444, 0.0)]
KINDS = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}
AFFINE = np.array([[-0.7, 0.0, 0.0, 12.0], [0.0, 0.8, 0.0, -34.0], [0.0, 0.0, 2.5, 56.0], [0, 0, 0, 1.0]])
TURNED = np.array([[0.0, -0.8, 0.0, 1.0], [0.7, 0.0, 0.0, 2.0], [0.0, 0.0, 2.5, 3.0], [0, 0, 0, 1.0]])


def stored_numbers(dtype: str, shape: tuple[int, ...] = (5, 4, 3)) -> NDArray[Any]:
    """Numbers over the whole range of a type."""
    kind = np.dtype(dtype)
    random = np.random.default_rng(0)
    if kind.kind == "f":
        return random.normal(0, 1e4, shape).astype(kind)
    limits = np.iinfo(kind)
    values = random.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)
    values.flat[[0, 1]] = limits.min, limits.max
    return values


def save(
    path: Path,
    stored: NDArray[Any],
    version: int = 1,
    endianness: Literal["<", ">"] = "<",
    scaling: tuple[float, float] = (np.nan, 0.0),
    **fields: Any,
) -> Path:
    """Write stored numbers (x, y, z) as they are, under a header whose fields are set to exactly these values."""
    kind = KINDS[version]
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header.set_xyzt_units("mm")
    header["pixdim"][1:4] = 0.7, 0.8, 2.5
    header["vox_offset"] = 352 if version == 1 else 544
    header["scl_slope"], header["scl_inter"] = scaling
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + bytes(4) + stored.astype(stored.dtype.newbyteorder(endianness)).tobytes(order="F")
    path.write_bytes(gzip.compress(content, 1) if path.name.lower().endswith(".gz") else content)
    return path


def both_forms(affine: NDArray[np.float64], qform_code: int = 1, sform_code: int = 1) -> dict[str, Any]:
    """The fields of a header that place an image by an affine without shear."""
    header = nibabel.Nifti1Header()
    header.set_qform(affine, qform_code)
    header.set_sform(affine, sform_code)
    names = ["pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"]
    names += ["qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"]
    return {name: header[name] for name in names}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers(tmp_path: Path, dtype: str, version: int) -> None:
    stored = stored_numbers(dtype)
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for endianness, ending, (slope, inter) in product(orders, [".nii", ".nii.gz"], SCALINGS):
        path = save(tmp_path / f"a{ending}", stored, version, endianness, (slope, inter))
        # A header of version 1 holds single precision; without a slope there is no scaling.
        precision = np.float32 if version == 1 else np.float64
        scaled = stored.astype(np.float64) * float(precision(slope)) + float(precision(inter))
        truth = scaled if slope and np.isfinite(slope) else stored
        image = read_image([path])
        np.testing.assert_array_equal(image.array[0], truth.T.astype(np.float32))
        assert image.notices == ()
        by_nibabel: Any = nibabel.load(path)
        np.testing.assert_array_equal(image.array[0], np.asarray(by_nibabel.dataobj).T.astype(np.float32))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_labels(tmp_path: Path, dtype: str, endianness: Literal["<", ">"], version: int) -> None:
    stored = stored_numbers(dtype)
    stored = np.rint(stored) if stored.dtype.kind == "f" else stored
    path = save(tmp_path / "a.nii.gz", stored, version, endianness)
    if dtype == "uint64":
        with pytest.raises(UserError, match="too large") as raised:
            read_label(path)
        assert str(np.iinfo(np.uint64).max) in str(raised.value.found)
        stored = stored >> np.uint64(1)
        save(path, stored, version, endianness)
    np.testing.assert_array_equal(read_label(path).array, stored.T.astype(np.int64))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("version", [1, 2])
def test_numbers_that_are_refused(tmp_path: Path, name: str, version: int) -> None:
    path = save(tmp_path / "a.nii", np.zeros((5, 4, 3 * 32), np.uint8), version, datatype=OTHERS[name])
    for read in (lambda: read_image([path]), lambda: read_label(path)):
        with pytest.raises(UserError, match=r"complex values|type that cannot be read") as raised:
            read()
        assert name in str(raised.value.found)


@pytest.mark.parametrize(("datatype", "components"), [(128, 3), (2304, 4)])
def test_colours_are_channels_and_no_labels(tmp_path: Path, datatype: int, components: int) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (components, 5, 4, 3)).astype(np.uint8)
    path = save(tmp_path / "a.nii", colours, dim=[3, 5, 4, 3, 1, 1, 1, 1], datatype=datatype)
    assert count_components(path) == components
    np.testing.assert_array_equal(read_image([path]).array, colours.transpose(0, 3, 2, 1))
    with pytest.raises(UserError, match="several components"):
        read_label(path)


@pytest.mark.parametrize("intent", [1005, 1006, 1007])
def test_vectors_are_channels(tmp_path: Path, intent: int) -> None:
    stored = stored_numbers("int16", (5, 4, 3, 1, 6))
    path = save(tmp_path / "a.nii", stored, intent_code=intent)
    np.testing.assert_array_equal(read_image([path]).array, stored[:, :, :, 0].transpose(3, 2, 1, 0))
    with pytest.raises(UserError, match="5 dimensions"):
        read_image([save(tmp_path / "a.nii", stored)])


@pytest.mark.parametrize("unit", [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_units(tmp_path: Path, version: int, endianness: Literal["<", ">"], unit: tuple[int, float]) -> None:
    code, scale = unit
    fields = both_forms(AFFINE)
    path = save(tmp_path / "a.nii", stored_numbers("int16"), version, endianness, xyzt_units=code, **fields)
    geometry = read_geometry(path)
    assert geometry.spacing == pytest.approx((0.7 * scale, 0.8 * scale, 2.5 * scale))
    assert geometry.origin == pytest.approx((-12.0 * scale, 34.0 * scale, 56.0 * scale))
    np.testing.assert_allclose(np.reshape(geometry.direction, (3, 3)), np.diag([1, -1, 1]), atol=1e-6)


@pytest.mark.parametrize("codes", list(product([0, 1, 2, 4], [0, 1, 2, 4])))
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_label_map_has_the_forms_codes_and_units_of_its_image(
    tmp_path: Path, ending: str, version: int, codes: tuple[int, int]
) -> None:
    qform_code, sform_code = codes
    # The forms differ: one program set the qform, another one the sform.
    fields = {**both_forms(AFFINE, qform_code, sform_code), "xyzt_units": 3}
    fields.update({name: value for name, value in both_forms(TURNED).items() if name.startswith("srow")})
    path = save(tmp_path / f"a{ending}", stored_numbers("int16"), version, **fields)
    write_label(tmp_path / f"b{ending}", np.ones((3, 4, 5), np.uint8), read_image([path]).geometry)
    image: Any = nibabel.load(path)
    label: Any = nibabel.load(tmp_path / f"b{ending}")
    assert type(label) is type(image)
    for name in fields:
        # Of pixdim, the first four values are about space.
        written, stated = (np.atleast_1d(header[name])[:4] for header in (label.header, image.header))
        np.testing.assert_array_equal(written, stated)
    np.testing.assert_array_equal(label.affine, image.affine)
    assert read_label(tmp_path / f"b{ending}").geometry == read_geometry(path)


def test_a_label_map_of_a_changed_grid_has_the_new_one(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", stored_numbers("int16"), **both_forms(AFFINE, 1, 4))
    geometry = read_geometry(path)
    moved = type(geometry)(
        geometry.size, geometry.spacing, (1.0, 2.0, 3.0), geometry.direction, geometry.unit, geometry.nifti
    )
    write_label(tmp_path / "b.nii", np.ones((3, 4, 5), np.uint8), moved)
    label: Any = nibabel.load(tmp_path / "b.nii")
    np.testing.assert_allclose(label.affine[:3, 3], (-1.0, -2.0, 3.0))
    assert (int(label.header["qform_code"]), int(label.header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(label.get_qform(), label.get_sform(), atol=1e-6)
    assert label.header.get_xyzt_units()[0] == "mm"


def test_a_picture_in_space_keeps_its_forms(tmp_path: Path) -> None:
    # A sagittal slice: neither of its axes lies in the plane of the first two axes of space.
    upright = np.array([[0.0, 0.0, 1.0, 1.0], [0.7, 0.0, 0.0, 2.0], [0.0, 0.8, 0.0, 3.0], [0, 0, 0, 1.0]])
    path = save(tmp_path / "a.nii", stored_numbers("int16", (5, 4)), **both_forms(upright, 1, 2))
    image = read_image([path])
    assert image.geometry.spacing == pytest.approx((0.7, 0.8))
    write_label(tmp_path / "b.nii", np.ones((1, 4, 5), np.uint8), image.geometry)
    original: Any = nibabel.load(path)
    label: Any = nibabel.load(tmp_path / "b.nii")
    assert label.shape == (5, 4)
    np.testing.assert_array_equal(label.affine, original.affine)


def test_an_axis_that_version_1_cannot_state(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.zeros((40_000, 2, 1), np.uint8), version=2, **both_forms(AFFINE))
    geometry = read_geometry(path)
    grid = type(geometry)(geometry.size, geometry.spacing, geometry.origin, geometry.direction)
    write_label(tmp_path / "b.nii.gz", np.ones((1, 2, 40_000), np.uint8), grid)
    assert read_label(tmp_path / "b.nii.gz").geometry == geometry


@pytest.mark.parametrize("sizes", [(-0.7, 0.8, 2.5), (0.7, -0.8, -2.5)])
@pytest.mark.parametrize("version", [1, 2])
def test_negative_sizes_are_read_with_a_notice(tmp_path: Path, version: int, sizes: tuple[float, ...]) -> None:
    path = save(tmp_path / "a.nii", stored_numbers("int16"), version, pixdim=[1, *sizes, 1, 1, 1, 1])
    image = read_image([path])
    assert image.spacing == pytest.approx((2.5, 0.8, 0.7))
    (notice,) = image.notices
    assert "negative" in notice.problem
    assert read_geometry(path).spacing == image.geometry.spacing
    write_label(tmp_path / "b.nii", np.ones((3, 4, 5), np.uint8), image.geometry)
    assert read_label(tmp_path / "b.nii").geometry == image.geometry


@pytest.mark.parametrize("size", [0.0, np.nan, np.inf, 1e-30, 1e30])
@pytest.mark.parametrize("version", [1, 2])
def test_sizes_that_are_none_are_refused(tmp_path: Path, version: int, size: float) -> None:
    path = save(tmp_path / "a.nii", stored_numbers("int16"), version, pixdim=[1, 1, size, 1, 1, 1, 1, 1])
    for read in (lambda: read_image([path]), lambda: read_label(path), lambda: read_geometry(path)):
        with pytest.raises(UserError, match="size of a voxel") as raised:
            read()
        assert f"{size:g}" in str(raised.value.found)


@pytest.mark.parametrize("size", [0.0, np.nan])
def test_the_sform_states_sizes_that_pixdim_does_not(tmp_path: Path, size: float) -> None:
    fields = {**both_forms(AFFINE, 0, 1), "pixdim": [1, size, size, size, 1, 1, 1, 1]}
    path = save(tmp_path / "a.nii", stored_numbers("int16"), **fields)
    assert read_image([path]).spacing == pytest.approx((2.5, 0.8, 0.7))


def test_two_sizes_of_a_voxel_in_one_header_are_noticed(tmp_path: Path) -> None:
    fields = {**both_forms(AFFINE), "pixdim": [1, 0.7, 0.8, 5, 1, 1, 1, 1]}
    image = read_image([save(tmp_path / "a.nii", stored_numbers("int16"), **fields)])
    assert image.spacing == pytest.approx((5.0, 0.8, 0.7))
    (notice,) = image.notices
    assert notice.found == "pixdim 0.7, 0.8, 5, sform 0.7, 0.8, 2.5"


@pytest.mark.parametrize("form", ["quatern_c", "qoffset_y", "srow_z"])
def test_forms_that_are_no_numbers_are_refused(tmp_path: Path, form: str) -> None:
    path = save(tmp_path / "a.nii", stored_numbers("int16"), **{**both_forms(AFFINE), form: np.nan})
    with pytest.raises(UserError, match="no numbers"):
        read_geometry(path)
    # A form that is not used may hold anything.
    fields = {**both_forms(AFFINE), form: np.nan, "sform_code" if form == "srow_z" else "qform_code": 0}
    geometry = read_geometry(save(path, stored_numbers("int16"), **fields))
    write_label(tmp_path / "b.nii", np.ones((3, 4, 5), np.uint8), geometry)
    assert read_geometry(tmp_path / "b.nii") == geometry


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_no_voxels_along_an_axis(tmp_path: Path, dtype: str, axis: int) -> None:
    dim = [3, 5, 4, 3, 1, 1, 1, 1]
    dim[axis] = 0
    path = save(tmp_path / "a.nii", stored_numbers(dtype), dim=dim)
    with pytest.raises(UserError, match="no voxels"):
        read_image([path])


@pytest.mark.parametrize(
    "fields", [{"dim": [0] * 8}, {"dim": [3, 5, -4, 3, 1, 1, 1, 1]}, {"dim": [1, 60, 1, 1, 1, 1, 1, 1]}]
)
def test_impossible_axes(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = save(tmp_path / "a.nii", stored_numbers("int16"), **fields)
    with pytest.raises(UserError, match=r"damaged|[01] dimensions"):
        read_image([path])


@pytest.mark.parametrize("offset", [1.0, 351.0, np.nan, -352.0, 1e30, 2.0**31])
def test_impossible_places_of_the_voxels(tmp_path: Path, offset: float) -> None:
    path = save(tmp_path / "a.nii.gz", stored_numbers("int16"), vox_offset=offset)
    with pytest.raises(UserError, match="damaged"):
        read_image([path])
    # Zero stands for the first possible place.
    image = read_image([save(path, stored_numbers("int16"), vox_offset=0)])
    np.testing.assert_array_equal(image.array[0], stored_numbers("int16").T)


class TestCompression:
    """What is compressed, whatever the name says."""

    values = stored_numbers("int16", (30, 20, 10))

    def content(self, folder: Path) -> bytes:
        return save(folder / "whole.nii", self.values).read_bytes()

    def notices(self, path: Path) -> list[str]:
        image, label = read_image([path]), read_label(path)
        np.testing.assert_array_equal(image.array[0], self.values.T)
        np.testing.assert_array_equal(label.array, self.values.T)
        assert image.notices == label.notices
        return [notice.found for notice in image.notices]

    def test_plain_under_the_name_of_a_compressed_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.nii.gz").write_bytes(self.content(tmp_path))
        assert self.notices(tmp_path / "a.nii.gz") == ["a file that is not compressed"]

    def test_compressed_under_the_name_of_a_plain_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.nii").write_bytes(gzip.compress(self.content(tmp_path)))
        assert self.notices(tmp_path / "a.nii") == ["a gzip file"]

    @pytest.mark.parametrize("rest", [b"\r\n", b"\x1f", b"\0\0garbage", b"\0" * 512 + b"x"])
    def test_bytes_behind_the_compressed_data(self, tmp_path: Path, rest: bytes) -> None:
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(self.content(tmp_path)) + rest)
        assert self.notices(tmp_path / "a.nii.gz") == [f"{len(rest.lstrip(bytes(1)))} further bytes"]

    @pytest.mark.parametrize("block", [100, 5000, 65_280])
    def test_several_members_and_zeros_behind_them(self, tmp_path: Path, block: int) -> None:
        content = self.content(tmp_path)
        members = [gzip.compress(content[start : start + block]) for start in range(0, len(content), block)]
        (tmp_path / "a.nii.gz").write_bytes(b"".join([*members, gzip.compress(b""), bytes(512)]))
        assert self.notices(tmp_path / "a.nii.gz") == []

    @pytest.mark.parametrize("packed", [True, False])
    def test_a_file_that_goes_on_is_not_read_to_its_end(self, tmp_path: Path, packed: bool) -> None:
        content = self.content(tmp_path) + bytes(3 << 20)
        path = tmp_path / ("a.nii.gz" if packed else "a.nii")
        # Damage that far behind is not met.
        path.write_bytes(gzip.compress(content)[:-8] if packed else content)
        assert self.notices(path) == [f"more than {1 << 20} further bytes"]

    @pytest.mark.parametrize("cut", [1, 9, 600])
    def test_data_that_are_missing(self, tmp_path: Path, cut: int) -> None:
        path = tmp_path / "a.nii.gz"
        path.write_bytes(gzip.compress(self.content(tmp_path))[:-cut])
        with pytest.raises(UserError, match="damaged"):
            read_image([path])

    def test_more_than_a_file_can_hold_is_refused_before_memory_is_asked_for(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.nii.gz", self.values, dim=[3, 30_000, 30_000, 30_000, 1, 1, 1, 1])
        with pytest.raises(UserError, match="damaged") as raised:
            read_image([path])
        assert "its header promises 54000000000352" in str(raised.value.found)


def test_extensions_of_the_header_are_skipped(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(stored_numbers("int16"), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"text" * 1000))
    nibabel.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_image([tmp_path / "a.nii.gz"]).array[0], stored_numbers("int16").T)
    content = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    # The extension claims to be two gigabytes long.
    struct.pack_into("<i", content, 352, 2**31 - 1)
    (tmp_path / "b.nii").write_bytes(content)
    np.testing.assert_array_equal(read_image([tmp_path / "b.nii"]).array[0], stored_numbers("int16").T)


def test_the_page_on_formats_lists_these_types() -> None:
    fates = {name.strip("`"): (image, label) for name, image, label in table_of("NIfTI")}
    assert list(fates) == [*NUMBERS, "rgb24", "rgba32", *(name for name in OTHERS if name != "unknown")]
    for name, (image, label) in fates.items():
        assert (image == "refused") == (name in OTHERS)
        assert (label == "refused") == (name not in NUMBERS)
