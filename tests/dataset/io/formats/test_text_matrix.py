"""NRRD and MetaImage: every type, order, encoding, place and space gives the array that was written, or is refused."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.dataset.io.formats.page import table_of
from umseg.common.errors import UserError
from umseg.dataset.io.formats.metaimage import MetaImage
from umseg.dataset.io.formats.nrrd import Nrrd
from umseg.dataset.io.images import read_image, read_label, write_label

NRRD_TYPES = {
    "int8": "i1",
    "uchar": "u1",
    "short": "i2",
    "uint16": "u2",
    "int": "i4",
    "unsigned int": "u4",
    "longlong": "i8",
    "uint64": "u8",
    "float": "f4",
    "double": "f8",
}
META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def as_text(values: NDArray[Any]) -> bytes:
    return " ".join(map(repr, values.ravel().tolist())).encode()


ENCODINGS: dict[str, tuple[Callable[[NDArray[Any]], bytes], str]] = {
    "raw": (lambda values: values.tobytes(), ".raw"),
    "gzip": (lambda values: gzip.compress(values.tobytes()), ".raw.gz"),
    "bzip2": (lambda values: bz2.compress(values.tobytes()), ".raw.bz2"),
    "ascii": (as_text, ".txt"),
    "hex": (lambda values: values.tobytes().hex(" ", 32).encode(), ".hex"),
    "zrl": (lambda values: values.tobytes(), ".raw"),
}
SPACES = {
    "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "LAS": (1, -1, 1),
    "left-posterior-superior": (1, 1, 1),
    "LPS": (1, 1, 1),
    "scanner-xyz": (1, 1, 1),
    "3D-right-handed": (1, 1, 1),
}


def some_values(dtype: str, shape: tuple[int, ...] = (4, 5, 6)) -> NDArray[Any]:
    random, kind = np.random.default_rng(0), np.dtype(dtype)
    if kind.kind == "f":
        return random.normal(size=shape).astype(kind)
    return random.integers(-100 if kind.kind == "i" else 0, 127, shape).astype(kind)


def write_nrrd(path: Path, values: NDArray[Any], encoding: str = "raw", name: str = "short", fields: str = "") -> Path:
    """``values`` is (z, y, x) in the byte order of its type; voxels go to a file beside a ``.nhdr``."""
    pack, ending = ENCODINGS[encoding]
    order = "big" if values.dtype.byteorder == ">" else "little"
    sizes = " ".join(map(str, values.shape[::-1]))
    header = f"NRRD0005\ntype: {name}\ndimension: {values.ndim}\nsizes: {sizes}\nencoding: {encoding}\n{fields}"
    header += f"endian: {order}\n" if values.dtype.itemsize > 1 else ""
    if path.suffix == ".nhdr":
        path.with_suffix(ending).write_bytes(pack(values))
        path.write_text(f"{header}data file: {path.with_suffix(ending).name}\n")
    else:
        path.write_bytes(f"{header}\n".encode() + pack(values))
    return path


def write_meta(
    path: Path, values: NDArray[Any], name: str = "MET_SHORT", stored: bytes | None = None, **fields: Any
) -> Path:
    """``values`` is (z, y, x) in the byte order of its type; voxels go to a file beside a ``.mhd``."""
    place = "LOCAL" if path.suffix == ".mha" else f"{path.stem}.raw"
    known = {
        "ObjectType": "Image",
        "NDims": values.ndim,
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": values.dtype.byteorder == ">",
        "TransformMatrix": "0 1 0 0 0 1 1 0 0",
        "Offset": "10 20 30",
        "ElementSpacing": "0.5 0.75 2",
        "DimSize": " ".join(map(str, values.shape[::-1])),
        "ElementType": name,
        **fields,
    }
    header = "".join(f"{key} = {value}\n" for key, value in known.items() if value is not None)
    content = f"{header}ElementDataFile = {place}\n".encode()
    stored = values.tobytes() if stored is None else stored
    if place == "LOCAL":
        path.write_bytes(content + stored)
    else:
        path.write_bytes(content)
        path.with_suffix(".raw").write_bytes(stored)
    return path


def problem_of(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        read_image([path])
    assert raised.value.remedy
    return raised.value.problem


class TestNrrd:
    @pytest.mark.parametrize("ending", [".nrrd", ".nhdr"])
    def test_types_and_encodings(self, tmp_path: Path, ending: str) -> None:
        found: dict[str, set[str]] = {encoding: set() for encoding in ENCODINGS}
        for encoding, results in found.items():
            for number, (name, code) in enumerate(NRRD_TYPES.items()):
                for order in "<>":
                    values = some_values(order + code)
                    path = write_nrrd(tmp_path / f"{encoding}{number}{order == '<'}{ending}", values, encoding, name)
                    if encoding == "zrl":
                        results.add("refused" if "encoding that cannot be read" in problem_of(path) else "?")
                        continue
                    np.testing.assert_array_equal(read_image([path]).array[0], values.astype(np.float32))
                    if values.dtype.kind != "f":
                        np.testing.assert_array_equal(read_label(path).array, values)
                    if encoding != "hex":
                        # pynrrd does not know it.
                        np.testing.assert_array_equal(nrrd.read(str(path))[0].T, values)
                    results.add("read")
        assert {row[0]: {row[1]} for row in table_of("NRRD")} == found

    @pytest.mark.parametrize("space", SPACES)
    def test_spaces(self, tmp_path: Path, space: str) -> None:
        axes = np.array([[0.9, 0.1, 0], [-0.2, 2, 0], [0, 0.3, 3]])
        vectors = " ".join(f"({','.join(map(repr, axis))})" for axis in axes.tolist())
        fields = f"space: {space}\nspace directions: {vectors}\nspace origin: (10,20,30)\n"
        path = write_nrrd(tmp_path / "a.nrrd", some_values("<i2"), fields=fields)
        geometry = read_image([path]).geometry
        header = nrrd.read_header(str(path))
        flips = np.array(SPACES[space])
        columns = np.reshape(geometry.direction, (3, 3)) * geometry.spacing
        np.testing.assert_allclose(columns.T, header["space directions"] * flips, rtol=1e-12)
        np.testing.assert_array_equal(geometry.origin, header["space origin"] * flips)
        assert (geometry.size, geometry.unit) == ((6, 5, 4), "mm")
        write_label(tmp_path / "b.nrrd", some_values("u1"), geometry)
        again = read_label(tmp_path / "b.nrrd").geometry
        for name in ("spacing", "origin", "direction"):
            np.testing.assert_allclose(getattr(again, name), getattr(geometry, name), rtol=1e-12, atol=1e-15)

    def test_spacings_only(self, tmp_path: Path) -> None:
        geometry = read_image(
            [write_nrrd(tmp_path / "a.nrrd", some_values("<i2"), fields="spacings: 1 2 3\n")]
        ).geometry
        assert (geometry.spacing, geometry.origin, geometry.unit) == ((1, 2, 3), (0, 0, 0), "mm")
        assert geometry.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)

    @pytest.mark.parametrize(("centers", "origin"), [("cell cell cell", (5.5, 7, 8.5)), ("node node node", (5, 6, 7))])
    def test_beginning_of_axes(self, tmp_path: Path, centers: str, origin: tuple[float, ...]) -> None:
        fields = f"spacings: 1 2 3\naxis mins: 5 6 7\ncenters: {centers}\n"
        geometry = read_image([write_nrrd(tmp_path / "a.nrrd", some_values("<i2"), fields=fields)]).geometry
        assert geometry.origin == origin

    def test_no_spacing_is_told(self, tmp_path: Path) -> None:
        image = read_image([write_nrrd(tmp_path / "a.nrrd", some_values("<i2"))])
        assert (image.spacing, image.geometry.unit) == ((1, 1, 1), None)
        assert [notice.found for notice in image.notices] == ["4 slices without a spacing"]

    @pytest.mark.parametrize(
        ("fields", "stated"),
        [
            ("spacings: 1 nan 2\n", (1, np.nan, 2)),
            ("spacings: 1 -3 2\n", (1, -3, 2)),
            ("spacings: 1 0 2\n", (1, 0, 2)),
            ("space: LPS\nspace directions: (1,0,0) (0,2,0) (0,0,0)\n", (1, 2, 0)),
        ],
    )
    def test_sizes_are_handed_on_as_they_are_stated(
        self, tmp_path: Path, fields: str, stated: tuple[float, ...]
    ) -> None:
        path = write_nrrd(tmp_path / "a.nrrd", some_values("<i2"), fields=fields)
        np.testing.assert_equal(Nrrd().open(path).geometry.spacing, stated)
        if -3 in stated:
            assert read_image([path]).spacing == (2, 3, 1)
        else:
            assert problem_of(path) == "The size of a voxel is not usable."

    @pytest.mark.parametrize("axis", [0, 1, 3])
    @pytest.mark.parametrize("kind", ["list", "vector", "RGB-color", "???"])
    def test_components_may_lie_along_any_axis(self, tmp_path: Path, axis: int, kind: str) -> None:
        values = some_values("<i2", (4, 5, 6, 3))
        kinds, vectors = ["domain"] * 3, ["(1,0,0)", "(0,2,0)", "(0,0,3)"]
        kinds.insert(axis, kind)
        vectors.insert(axis, "none")
        fields = f"space: LPS\nspace directions: {' '.join(vectors)}\nkinds: {' '.join(kinds)}\n"
        path = write_nrrd(tmp_path / "a.nrrd", np.moveaxis(values, 3, 3 - axis).copy(), fields=fields)
        image = read_image([path])
        np.testing.assert_array_equal(image.array, np.moveaxis(values, 3, 0))
        assert image.spacing == (3, 2, 1)

    def test_layers_are_no_label_map(self, tmp_path: Path) -> None:
        fields = "kinds: list domain domain domain\n"
        path = write_nrrd(tmp_path / "a.seg.nrrd", some_values("<i2", (4, 5, 6, 2)), fields=fields)
        with pytest.raises(UserError, match="several components") as raised:
            read_label(path)
        assert raised.value.found == "2 components"

    @pytest.mark.parametrize(
        ("shape", "fields", "problem"),
        [
            ((2, 4, 5, 6), "", "The image has 4 dimensions; only 2-D and 3-D images can be used."),
            (
                (3, 4, 5, 2),
                "kinds: list domain domain list\n",
                "A NRRD file has several axes that do not lie in space.",
            ),
            ((4, 5, 2), "kinds: complex domain domain\n", "The image has complex values."),
            ((4, 5, 6), "space: RAS\nspacings: 1 2 3\n", "A NRRD file does not say how its axes lie in space."),
            (
                (5, 6),
                "space: LPS\nspace directions: (1,0,0) (0,2,0)\n",
                "A NRRD file does not say how its axes lie in space.",
            ),
            (
                (4, 5, 6),
                "space: LPS\nspace directions: (1,0,0) (1,0,0) (0,0,1)\n",
                "The header does not place the image in space.",
            ),
        ],
    )
    def test_refused_by_name(self, tmp_path: Path, shape: tuple[int, ...], fields: str, problem: str) -> None:
        assert problem_of(write_nrrd(tmp_path / "a.nrrd", some_values("<i2", shape), fields=fields)) == problem

    def test_blocks_are_refused(self, tmp_path: Path) -> None:
        assert "type that cannot be read" in problem_of(
            write_nrrd(tmp_path / "a.nrrd", some_values("<i2"), name="block")
        )

    @pytest.mark.parametrize(
        ("fields", "found"),
        [
            ("endian: little\n", "the header has the field endian twice"),
            ("rubbish: 1\n", "the header has a field that NRRD does not know: rubbish"),
            ("rubbish\n", "a line of the header is no field: rubbish"),
            ("spacings: 1 2\n", "the field spacings has 2 values, not 3"),
            ("spacings: 1 2 x\n", "the field spacings is not a list of numbers: 1 2 x"),
            ("kinds: domain\n", "the field kinds has 1 values, not 3"),
            ("space: nowhere\n", "the header names an unknown space: nowhere"),
            (
                "space: LPS\nspace directions: (1,0) (0,1) (1,1)\n",
                "the field space directions has vectors of another space",
            ),
            ("line skip: -3\n", "the fields line skip or byte skip are negative"),
        ],
    )
    def test_damaged_headers(self, tmp_path: Path, fields: str, found: str) -> None:
        with pytest.raises(UserError, match="damaged") as raised:
            read_image([write_nrrd(tmp_path / "a.nrrd", some_values("<i2"), fields=fields)])
        assert raised.value.found == found

    def test_comments_keys_and_unused_fields(self, tmp_path: Path) -> None:
        fields = (
            '# x\nkey:=value: with colon\ncontent: a: b\nlabels: "a b" "c" "d"\nmeasurement frame: (1,0,0)\nmin: 3\n'
        )
        values = some_values("<i2")
        np.testing.assert_array_equal(
            read_image([write_nrrd(tmp_path / "a.nrrd", values, fields=fields)]).array[0], values
        )

    @pytest.mark.parametrize(
        ("fields", "before", "encoding"),
        [
            ("byte skip: 3\n", b"abc", "raw"),
            ("byte skip: -1\n", b"any", "raw"),
            ("line skip: 2\n", b"a\nb\n", "raw"),
            ("line skip: 1\nbyte skip: 2\n", b"a\nbc", "raw"),
            ("line skip: 1\n", b"a\n", "gzip"),
        ],
    )
    def test_voxels_behind_something_else(self, tmp_path: Path, fields: str, before: bytes, encoding: str) -> None:
        values = some_values("<i2")
        path = write_nrrd(tmp_path / "a.nrrd", values, encoding, fields=fields)
        header, _, voxels = path.read_bytes().partition(b"\n\n")
        path.write_bytes(header + b"\n\n" + before + voxels)
        np.testing.assert_array_equal(read_image([path]).array[0], values)

    def test_lines_of_any_length_and_number(self, tmp_path: Path) -> None:
        """A value of some 1,000 letters wrote behind an array of ITK's parser; 100,000 pairs took it a minute."""
        values = some_values("<i2")
        keys = "".join(f"key{number}:=value\n" for number in range(100_000))
        np.testing.assert_array_equal(
            read_image([write_nrrd(tmp_path / "a.nrrd", values, fields=keys)]).array[0], values
        )
        for field in (
            "content",
            "kinds",
            "labels",
            "spacings",
            "space directions",
            "space",
            "data file",
            "sample units",
        ):
            path = write_nrrd(tmp_path / "a.nrrd", values, fields=f"{field}: {'9' * 200_000}\n")
            if field in ("content", "labels", "sample units"):
                np.testing.assert_array_equal(read_image([path]).array[0], values)
                continue
            with pytest.raises(UserError) as raised:
                read_image([path])
            assert len(str(raised.value)) < 1000

    def test_another_unit_is_told(self, tmp_path: Path) -> None:
        fields = 'space: LPS\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace units: "um" "um" "um"\n'
        (notice,) = read_image([write_nrrd(tmp_path / "a.nrrd", some_values("<i2"), fields=fields)]).notices
        assert notice.found == "unit um"


class TestMetaImage:
    @pytest.mark.parametrize("ending", [".mha", ".mhd"])
    def test_types_and_encodings(self, tmp_path: Path, ending: str) -> None:
        found: set[tuple[str, ...]] = set()
        for number, (name, code) in enumerate(META_TYPES.items()):
            for order in "<>":
                values = some_values(order + code)
                raw = values.tobytes()
                for voxels, stored in {
                    "raw": raw,
                    "zlib or gzip": zlib.compress(raw) if order == ">" else gzip.compress(raw),
                    "text": as_text(values),
                }.items():
                    packed, binary = voxels == "zlib or gzip", voxels != "text"
                    path = tmp_path / f"{number}{order == '<'}{voxels[0]}{ending}"
                    size = len(stored) if packed else None
                    fields: dict[str, Any] = {
                        "BinaryData": binary,
                        "CompressedData": packed,
                        "CompressedDataSize": size,
                    }
                    write_meta(path, values, name, stored, **fields)
                    image = read_image([path])
                    np.testing.assert_array_equal(image.array[0], values.astype(np.float32))
                    if values.dtype.kind != "f":
                        np.testing.assert_array_equal(read_label(path).array, values)
                    found.add((voxels, str(packed), str(binary), "read"))
        assert found == set(table_of("MetaImage"))
        assert list(image.spacing) == [2, 0.75, 0.5]
        # The rows of the matrix are the directions of the axes.
        assert image.geometry.direction == (0, 0, 1, 1, 0, 0, 0, 1, 0)

    @pytest.mark.parametrize("channels", [2, 3, 4])
    def test_channels(self, tmp_path: Path, channels: int) -> None:
        values = some_values("u1", (4, 5, 6, channels))
        fields: dict[str, Any] = {"NDims": 3, "DimSize": "6 5 4", "ElementNumberOfChannels": channels}
        path = write_meta(tmp_path / "a.mha", values, "MET_UCHAR_ARRAY", **fields)
        np.testing.assert_array_equal(read_image([path]).array, np.moveaxis(values, 3, 0))

    @pytest.mark.parametrize("size", [None, 0, 10, -10])
    def test_a_stream_has_the_stated_length(self, tmp_path: Path, size: int | None) -> None:
        values = some_values("<i2")
        stored = zlib.compress(values.tobytes())
        stated = None if size is None else len(stored) + size
        fields: dict[str, Any] = {"CompressedData": True, "CompressedDataSize": stated}
        path = write_meta(tmp_path / "a.mha", values, "MET_SHORT", stored, **fields)
        if size in (None, 0):
            np.testing.assert_array_equal(read_image([path]).array[0], values)
        else:
            assert "damaged" in problem_of(path)

    @pytest.mark.parametrize(
        ("fields", "spacing", "origin", "unit"),
        [
            ({"ElementSpacing": None, "ElementSize": "1 2 3"}, (1, 2, 3), (10, 20, 30), "mm"),
            ({"ElementSize": "4 5 6"}, (0.5, 0.75, 2), (10, 20, 30), "mm"),
            ({"Offset": None, "Position": "1 2 3"}, (0.5, 0.75, 2), (1, 2, 3), "mm"),
            ({"Offset": None, "Origin": "1 2 3"}, (0.5, 0.75, 2), (1, 2, 3), "mm"),
            ({"Offset": None}, (0.5, 0.75, 2), (0, 0, 0), "mm"),
            ({"ElementSpacing": None}, (1, 1, 1), (10, 20, 30), None),
            ({"ElementSpacing": "1 -2 3"}, (1, -2, 3), (10, 20, 30), "mm"),
            ({"ElementSpacing": "1 2 0"}, (1, 2, 0), (10, 20, 30), "mm"),
        ],
    )
    def test_place(
        self,
        tmp_path: Path,
        fields: dict[str, Any],
        spacing: tuple[float, ...],
        origin: tuple[float, ...],
        unit: str | None,
    ) -> None:
        path = write_meta(tmp_path / "a.mha", some_values("<i2"), **fields)
        geometry = MetaImage().open(path).geometry
        assert (geometry.spacing, geometry.origin, geometry.unit) == (spacing, origin, unit)
        if 0 in spacing:
            assert problem_of(path) == "The size of a voxel is not usable."
        else:
            image = read_image([path])
            assert image.geometry.spacing == tuple(map(abs, spacing))
            assert len(image.notices) == (unit is None) + (-2 in spacing)

    @pytest.mark.parametrize(
        ("fields", "problem"),
        [
            ({"ObjectType": "Mesh"}, "The MetaImage file holds no image."),
            ({"ElementType": "MET_OTHER"}, "The numbers of a MetaImage file have an unknown type."),
            ({"DimSize": "6 5 0"}, "An image has no voxels."),
            ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "The header does not place the image in space."),
        ],
    )
    def test_refused_by_name(self, tmp_path: Path, fields: dict[str, Any], problem: str) -> None:
        assert problem_of(write_meta(tmp_path / "a.mha", some_values("<i2"), **fields)) == problem

    def test_windows_line_ends_and_voxels_at_the_end(self, tmp_path: Path) -> None:
        values = some_values("<i2")
        path = write_meta(tmp_path / "a.mha", values, HeaderSize=-1)
        header, place, voxels = path.read_bytes().partition(b"LOCAL\n")
        path.write_bytes(header.replace(b"\n", b"\r\n") + b"LOCAL\r\n" + b"padding" + voxels)
        np.testing.assert_array_equal(read_image([path]).array[0], values)
        assert place

    def test_a_volume_in_four_dimensions(self, tmp_path: Path) -> None:
        values = some_values("<i2", (1, 4, 5, 6))
        matrix = " ".join(map(str, np.eye(4).ravel()))
        fields: dict[str, Any] = {"TransformMatrix": matrix, "Offset": "1 2 3 4", "ElementSpacing": "1 2 3 4"}
        image = read_image([write_meta(tmp_path / "a.mha", values, **fields)])
        np.testing.assert_array_equal(image.array[0], values[0])
        assert (image.spacing, image.geometry.origin) == ((3, 2, 1), (1, 2, 3))

    def test_another_unit_is_told(self, tmp_path: Path) -> None:
        (notice,) = read_image([write_meta(tmp_path / "a.mha", some_values("<i2"), DistanceUnits="um")]).notices
        assert notice.found == "unit um"


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_little_more_is_unpacked_than_promised(tmp_path: Path, encoding: str) -> None:
    values = some_values("<i2")
    pack: Callable[[bytes], bytes] = gzip.compress if encoding == "gzip" else bz2.compress
    path = write_nrrd(tmp_path / "a.nrrd", values, encoding)
    header = path.read_bytes().partition(b"\n\n")[0] + b"\n\n"
    noise = np.random.default_rng(0).bytes
    stream = pack(values.tobytes() + noise(1000))
    path.write_bytes(header + stream)
    np.testing.assert_array_equal(read_image([path]).array[0], values)
    # The checksum of the whole stream also holds for the voxels.
    for damaged in (stream[:-20] + bytes(20), pack(values.tobytes())[:-3]):
        path.write_bytes(header + damaged)
        assert "damaged" in problem_of(path)
    path.write_bytes(header + pack(values.tobytes() + noise(1 << 21)))
    with pytest.raises(UserError) as caught:
        read_image([path])
    assert "hold more than the promised" in str(caught.value.found)


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
@pytest.mark.parametrize(
    ("rest", "found"), [(b"", None), (bytes(300_000), None), (b"xx", 2), (b"x" * 600_000, 600_000)]
)
def test_bytes_behind_compressed_voxels_are_left_out(
    tmp_path: Path, encoding: str, rest: bytes, found: int | None
) -> None:
    values = some_values("<i2")
    path = write_nrrd(tmp_path / "a.nrrd", values, encoding)
    path.write_bytes(path.read_bytes() + rest)
    image = read_image([path])
    np.testing.assert_array_equal(image.array[0], values)
    behind = [notice.found for notice in image.notices if "behind its compressed data" in notice.problem]
    assert behind == ([f"{len(rest):,} further bytes"] if rest.strip(b"\0") else [])


@pytest.mark.parametrize("size", ["-6 5 4", "6 -5 -4", "99999999999999999999 5 4", "6 5 4.5", "6 5"])
def test_sizes_that_are_none(tmp_path: Path, size: str) -> None:
    values = some_values("<i2")
    meta = write_meta(tmp_path / "a.mha", values, DimSize=size)
    nrrd_file = write_nrrd(tmp_path / "a.nrrd", values)
    nrrd_file.write_bytes(nrrd_file.read_bytes().replace(b"sizes: 6 5 4", b"sizes: " + size.encode()))
    for path in (meta, nrrd_file):
        assert problem_of(path).startswith("An image file is damaged")
