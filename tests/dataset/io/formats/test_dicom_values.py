"""DICOM: values and grid of every kind of file are those of pydicom with the rescale applied, or are refused."""

from __future__ import annotations

import base64
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    ParametricMapStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    RTDoseStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
)

from tests.dataset.dicom_builder import enhanced_groups, write_series, write_slice
from tests.dataset.io.formats.page import table_of
from umseg.common.errors import UserError
from umseg.dataset.io.images import read_image

PLAIN = {
    "implicit little endian": ImplicitVRLittleEndian,
    "explicit little endian": ExplicitVRLittleEndian,
    "explicit big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
TYPES = [("u1", 8), ("i1", 8), ("u2", 16), ("i2", 16), ("u2", 12), ("i2", 12), ("i2", 10), ("u4", 32), ("i4", 32)]
SCALES = [(1, 0), (1, -1024), (2, 3), (0.5, -10.25), (0.0123, 7)]
NOT_DECODED = "The pixels of a DICOM file are compressed in a way that cannot be read"
# A JPEG-LS stream of 6 x 8 numbers of 12 bits, made by CharLS.
JPEG_LS = base64.b64decode(
    "/9j/9wALCwAGAAgBAREA/9oACAEBAAAAAIpKUdFKUdFAAAwKkhGREJAKgAAMP3z147NEgpzJguWKlCMUxMkRIPvkQpXnXXHHCED/2Q=="
)
IN_JPEG_LS = (np.arange(48, dtype=np.uint16).reshape(6, 8) * 37) % 4096


def noise(shape: tuple[int, ...], dtype: str = "u2", bits: int | None = None) -> NDArray[Any]:
    kind = np.dtype(dtype)
    bits = min(bits or 8 * kind.itemsize, 24)
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if kind.kind == "i" else (0, 1 << bits)
    return np.random.default_rng(0).integers(low, high, shape).astype(kind)


def scaled(values: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float32]:
    return (values.astype(np.float64) * slope + intercept).astype(np.float32)


def jpeg(values: NDArray[Any], kind: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


def lossless(path: Path, compressor: str) -> NDArray[Any]:
    values = noise((2, 16, 16), "i2", 12)
    write_series(path, values, compressor=compressor)
    return values


class TestTransferSyntaxes:
    def outcome(self, folder: Path, syntax: UID) -> str:
        """What becomes of a slice in a compressed transfer syntax."""
        file, values = folder / "0.dcm", noise((16, 18), "u1")
        if syntax == RLELossless:
            content = write_slice(file, noise((16, 18), "i2", 12), stored_bits=12)
            content.compress(syntax, generate_instance_uid=False)
            content.save_as(file)
            truth = noise((16, 18), "i2", 12)
        elif syntax == JPEGLSLossless:
            truth = IN_JPEG_LS
            write_slice(file, truth, syntax=syntax, stored_bits=12, stream=JPEG_LS)
        elif syntax == JPEGLosslessSV1:
            truth = lossless(folder, "JPEG")
        elif syntax == JPEG2000Lossless:
            truth = lossless(folder, "JPEG2000")
        elif syntax == JPEG2000:
            stream = jpeg(values, "JPEG2000", irreversible=True, quality_layers=[4], no_jp2=True)
            write_slice(file, values, syntax=syntax, stream=stream)
            truth = np.asarray(Picture.open(io.BytesIO(stream)))
        else:
            stream = jpeg(values)
            write_slice(file, values, syntax=syntax, stream=stream)
            truth = np.asarray(Picture.open(io.BytesIO(stream)))
        try:
            array = read_image([folder]).array[0]
        except UserError as error:
            # Anything else than a refusal by name stands in no table.
            return "refused" if error.problem.startswith(NOT_DECODED) else error.problem
        # Decoders of lossy streams may round differently.
        np.testing.assert_allclose(array.squeeze(), truth, atol=syntax in (JPEG2000, JPEGBaseline8Bit))
        return "read"

    def test_all_of_the_page(self, tmp_path: Path) -> None:
        compressed = {
            "RLE": RLELossless,
            "JPEG baseline": JPEGBaseline8Bit,
            "JPEG lossless": JPEGLosslessSV1,
            "JPEG-LS": JPEGLSLossless,
            "JPEG 2000": JPEG2000,
            "JPEG 2000 lossless": JPEG2000Lossless,
            "high-throughput JPEG 2000": HTJ2K,
            "MPEG": MPEG2MPML,
        }
        found = {name: self.outcome(tmp_path / name, syntax) for name, syntax in compressed.items()}
        assert {row[0]: row[1] for row in table_of("DICOM")} == {**dict.fromkeys(PLAIN, "read"), **found}

    @pytest.mark.parametrize("syntax", PLAIN.values(), ids=PLAIN)
    @pytest.mark.parametrize(("dtype", "bits"), TYPES)
    def test_types_and_scales(self, tmp_path: Path, syntax: UID, dtype: str, bits: int) -> None:
        values = noise((9, 7), dtype, bits)
        for slope, intercept in SCALES:
            tags: dict[str, Any] = {"RescaleSlope": slope, "RescaleIntercept": intercept}
            write_slice(tmp_path / "0.dcm", values, syntax=syntax, stored_bits=bits, **tags)
            array = read_image([tmp_path]).array[0, 0]
            np.testing.assert_array_equal(array, scaled(values, slope, intercept))
            np.testing.assert_array_equal(
                array, scaled(pydicom.dcmread(tmp_path / "0.dcm").pixel_array, slope, intercept)
            )

    def test_a_stream_in_several_fragments(self, tmp_path: Path) -> None:
        values = noise((16, 18), "u1")
        stream = jpeg(values)
        parts = encapsulate([stream], fragments_per_frame=3)
        write_slice(tmp_path / "a" / "0.dcm", values, syntax=JPEGBaseline8Bit, stream=stream, PixelData=parts)
        write_slice(tmp_path / "b" / "0.dcm", values, syntax=JPEGBaseline8Bit, stream=stream)
        first, second = (read_image([tmp_path / name]).array for name in "ab")
        np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize(("kind", "syntax"), [("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless)])
    def test_a_stream_of_another_size_is_not_decoded(self, tmp_path: Path, kind: str, syntax: UID) -> None:
        stream = jpeg(noise((64, 72), "u1"), kind)
        write_slice(tmp_path / "0.dcm", noise((16, 18), "u1"), syntax=syntax, stream=stream)
        with pytest.raises(UserError, match="damaged") as raised:
            read_image([tmp_path])
        assert (
            raised.value.found == "the compressed pixels state 64 rows and 72 columns, the file 16 rows and 18 columns"
        )

    def test_a_stream_of_many_layers_is_not_decoded(self, tmp_path: Path) -> None:
        stream = bytearray(jpeg(noise((16, 18), "u1"), "JPEG2000", no_jp2=True))
        struct.pack_into(">H", stream, stream.index(b"\xff\x52") + 6, 65_535)
        write_slice(tmp_path / "0.dcm", noise((16, 18), "u1"), syntax=JPEG2000, stream=bytes(stream))
        with pytest.raises(UserError, match="damaged") as raised:
            read_image([tmp_path])
        assert "65535 layers" in str(raised.value.found)


class TestValues:
    def test_every_slice_has_its_own_scale(self, tmp_path: Path) -> None:
        values, slopes = noise((4, 6, 7)), (1, 0.5, 2.25, 1e-8)
        for number, (plane, slope) in enumerate(zip(values, slopes, strict=True)):
            write_slice(
                tmp_path / f"{number}.dcm",
                plane,
                number,
                kind=PositronEmissionTomographyImageStorage,
                RescaleSlope=slope,
                RescaleIntercept=0,
            )
        expected = [scaled(plane, slope, 0) for plane, slope in zip(values, slopes, strict=True)]
        np.testing.assert_array_equal(read_image([tmp_path]).array[0], expected)

    @pytest.mark.parametrize("kind", [CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage, RTDoseStorage])
    def test_the_scale_holds_for_every_class(self, tmp_path: Path, kind: UID) -> None:
        values = noise((6, 7))
        dose, other = {"DoseGridScaling": 0.25}, {"RescaleSlope": 0.25, "RescaleIntercept": 0}
        scale: dict[str, Any] = dose if kind == RTDoseStorage else other
        write_slice(tmp_path / "0.dcm", values, kind=kind, **scale)
        np.testing.assert_array_equal(read_image([tmp_path]).array[0, 0], scaled(values, 0.25, 0))

    def test_negatives_stay_as_they_are_stored_with_one_notice(self, tmp_path: Path) -> None:
        values = noise((3, 6, 7), "i2", 12)
        for number, plane in enumerate(values):
            write_slice(tmp_path / f"{number}.dcm", plane, number, colours="MONOCHROME1", stored_bits=12)
        image = read_image([tmp_path])
        np.testing.assert_array_equal(image.array[0], values)
        assert [notice.problem for notice in image.notices] == [
            "A DICOM image is stored as a negative: its values are used as they are stored."
        ]

    def test_compressed_negatives_too(self, tmp_path: Path) -> None:
        write_slice(tmp_path / "0.dcm", IN_JPEG_LS, syntax=JPEGLSLossless, colours="MONOCHROME1", stream=JPEG_LS)
        np.testing.assert_array_equal(read_image([tmp_path]).array[0, 0], IN_JPEG_LS)

    @pytest.mark.parametrize("dtype", ["u2", "i2"])
    def test_bits_above_the_stored_ones_are_left_out(self, tmp_path: Path, dtype: str) -> None:
        values = noise((6, 7), dtype, 12)
        overlaid = (values.view("u2") & 0x0FFF) | 0x5000
        write_slice(tmp_path / "0.dcm", overlaid.view(dtype), stored_bits=12)
        np.testing.assert_array_equal(read_image([tmp_path]).array[0, 0], values)

    def test_padding_stays(self, tmp_path: Path) -> None:
        values = np.where(noise((6, 7), "i2", 12) < 0, -2000, 7).astype("i2")
        write_slice(tmp_path / "0.dcm", values, PixelPaddingValue=-2000)
        np.testing.assert_array_equal(read_image([tmp_path]).array[0, 0], values)

    def test_masks_of_one_bit(self, tmp_path: Path) -> None:
        mask = noise((8, 16), "u1", 1)
        bits = np.packbits(mask.ravel(), bitorder="little").tobytes()
        write_slice(tmp_path / "0.dcm", mask, PixelData=bits, BitsAllocated=1, BitsStored=1, HighBit=0)
        np.testing.assert_array_equal(read_image([tmp_path]).array[0, 0], mask)

    def test_maps_of_floating_point(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).normal(size=(6, 7)).astype("f4")
        write_slice(
            tmp_path / "0.dcm", values, kind=ParametricMapStorage, PixelData=None, FloatPixelData=values.tobytes()
        )
        np.testing.assert_array_equal(read_image([tmp_path]).array[0, 0], values)

    @pytest.mark.parametrize("colours", ["RGB", "YBR_FULL"])
    @pytest.mark.parametrize("planar", [0, 1])
    def test_colours(self, tmp_path: Path, colours: str, planar: int) -> None:
        values = noise((6, 8, 3), "u1")
        stored = np.moveaxis(values, -1, 0) if planar else values
        tags: dict[str, Any] = {"PlanarConfiguration": planar, "PixelData": stored.tobytes()}
        write_slice(
            tmp_path / "0.dcm", values, kind=UltrasoundImageStorage, colours=colours, spacing=None, placed=False, **tags
        )
        image = read_image([tmp_path])
        assert (image.array.shape, image.geometry.unit) == ((3, 1, 6, 8), None)
        truth = pydicom.dcmread(tmp_path / "0.dcm").pixel_array
        np.testing.assert_array_equal(np.moveaxis(image.array[:, 0], 0, -1), truth)
        if colours == "RGB":
            np.testing.assert_array_equal(truth, values)

    @pytest.mark.parametrize("bits", [8, 16])
    def test_palettes(self, tmp_path: Path, bits: int) -> None:
        values = noise((6, 8), "u1")
        tags: dict[str, Any] = {}
        for number, colour in enumerate(("Red", "Green", "Blue")):
            table = np.random.default_rng(number).integers(0, 1 << bits, 256).astype(f"<u{bits // 8}")
            tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
            tags[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
        content = write_slice(tmp_path / "0.dcm", values, colours="PALETTE COLOR", **tags)
        truth = apply_color_lut(values, content)
        np.testing.assert_array_equal(np.moveaxis(read_image([tmp_path]).array[:, 0], 0, -1), truth)

    @pytest.mark.parametrize(
        ("tags", "found"),
        [
            ({"PhotometricInterpretation": "HSV"}, "colours 'HSV'"),
            ({"HighBit": 13, "BitsStored": 12}, "highest bit 13 of 12 stored bits"),
            ({"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}, "12 bits allocated per number"),
        ],
    )
    def test_other_pixels_are_refused(self, tmp_path: Path, tags: dict[str, Any], found: str) -> None:
        write_slice(tmp_path / "0.dcm", noise((6, 8)), **tags)
        with pytest.raises(UserError, match="of a kind that cannot be read") as raised:
            read_image([tmp_path])
        assert raised.value.found == found

    def test_a_slope_of_zero_is_none(self, tmp_path: Path) -> None:
        write_slice(tmp_path / "0.dcm", noise((6, 7)), RescaleSlope=0, RescaleIntercept=5)
        image = read_image([tmp_path])
        np.testing.assert_array_equal(image.array[0, 0], noise((6, 7)) + np.float32(5))
        assert [notice.found for notice in image.notices] == ["RescaleSlope 0"]

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            (b"nan     ", "slope nan, intercept 0"),
            (b"1,5     ", "the value of RescaleSlope is not a number"),
            (b"1.5\\2.5 ", "the value of RescaleSlope is not a number"),
        ],
    )
    def test_a_slope_that_is_no_number(self, tmp_path: Path, text: bytes, found: str) -> None:
        write_slice(tmp_path / "0.dcm", noise((6, 7)), RescaleSlope=123457)
        content = (tmp_path / "0.dcm").read_bytes()
        assert content.count(b"123457.0") == 1
        (tmp_path / "0.dcm").write_bytes(content.replace(b"123457.0", text))
        with pytest.raises(UserError, match=r"scale of values|damaged") as raised:
            read_image([tmp_path])
        assert raised.value.found == found

    def test_a_table_of_values_is_told(self, tmp_path: Path) -> None:
        write_slice(tmp_path / "0.dcm", noise((6, 7)), ModalityLUTSequence=pydicom.Sequence())
        image = read_image([tmp_path])
        np.testing.assert_array_equal(image.array[0, 0], noise((6, 7)))
        assert [notice.found for notice in image.notices] == ["a Modality LUT Sequence"]


class TestGrid:
    @pytest.mark.parametrize("kind", [CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage])
    def test_place_and_spacing_are_those_of_the_tags(self, tmp_path: Path, kind: UID) -> None:
        values = noise((3, 6, 7))
        tags: dict[str, Any] = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
        for number, plane in enumerate(values):
            place = [10 - 2.5 * number, 20, 30]
            write_slice(tmp_path / f"{number}.dcm", plane, number, kind=kind, ImagePositionPatient=place, **tags)
        image = read_image([tmp_path])
        np.testing.assert_array_equal(image.array[0], values)
        assert image.spacing == (2.5, 0.7, 0.9)
        assert list(image.geometry.origin) == [10, 20, 30]
        assert image.geometry.direction == (0, 0, -1, 1, 0, 0, 0, -1, 0)

    def test_the_size_on_the_detector(self, tmp_path: Path) -> None:
        kind = DigitalXRayImageStorageForPresentation
        tags: dict[str, Any] = {"ImagerPixelSpacing": [0.143, 0.15]}
        write_slice(tmp_path / "0.dcm", noise((6, 7)), kind=kind, spacing=None, placed=False, **tags)
        geometry = read_image([tmp_path]).geometry
        assert (geometry.dimensions, geometry.spacing, geometry.unit) == (2, (0.15, 0.143), "mm")

    def test_files_without_preamble_and_ending(self, tmp_path: Path) -> None:
        for number, plane in enumerate(noise((3, 6, 7))):
            write_slice(tmp_path / "x" / str(number), plane, number)
            content = (tmp_path / "x" / str(number)).read_bytes()
            (tmp_path / "x" / str(number)).write_bytes(content[132:])
        np.testing.assert_array_equal(read_image([tmp_path / "x"]).array[0], noise((3, 6, 7)))

    def test_files_that_are_there_twice(self, tmp_path: Path) -> None:
        for number, plane in enumerate(noise((3, 6, 7))):
            write_slice(tmp_path / f"{number}.dcm", plane, number)
        (tmp_path / "1 (copy).dcm").write_bytes((tmp_path / "1.dcm").read_bytes())
        image = read_image([tmp_path])
        np.testing.assert_array_equal(image.array[0], noise((3, 6, 7)))
        assert [notice.found for notice in image.notices] == ["1.dcm"]
        # Another content under the same identifier is no copy.
        write_slice(tmp_path / "1 (copy).dcm", noise((6, 7)) + 1, 1)
        with pytest.raises(UserError, match="several slices at the same place"):
            read_image([tmp_path])


class TestEnhanced:
    ORDER = (3, 1, 0, 4, 2)

    def write(self, path: Path, **options: Any) -> NDArray[Any]:
        """A file of five images out of order; returns them in order."""
        values = noise((5, 6, 7), "u2", 12)
        heights = [30 + 2.5 * number for number in self.ORDER]
        groups = enhanced_groups(heights, options.pop("scales", None))
        write_slice(
            path,
            values[list(self.ORDER)],
            kind=EnhancedCTImageStorage,
            spacing=None,
            placed=False,
            **{"NumberOfFrames": 5, **groups, **options},
        )
        return values

    @pytest.mark.parametrize("compressed", [False, True])
    def test_images_are_ordered_by_their_own_place(self, tmp_path: Path, compressed: bool) -> None:
        values = self.write(tmp_path / "a.dcm")
        if compressed:
            content = pydicom.dcmread(tmp_path / "a.dcm")
            content.compress(RLELossless, generate_instance_uid=False)
            content.save_as(tmp_path / "a.dcm")
        image = read_image([tmp_path / "a.dcm"])
        np.testing.assert_array_equal(image.array[0], values - np.float32(1024))
        assert image.spacing == (2.5, 0.7, 0.9)
        assert image.geometry.origin == (10, 20, 30)

    def test_images_have_their_own_scale(self, tmp_path: Path) -> None:
        values = self.write(tmp_path / "a.dcm", scales=[(number + 1, number) for number in self.ORDER])
        expected = [scaled(plane, number + 1, number) for number, plane in enumerate(values)]
        np.testing.assert_array_equal(read_image([tmp_path / "a.dcm"]).array[0], expected)

    def test_images_without_a_place_are_refused(self, tmp_path: Path) -> None:
        self.write(tmp_path / "a.dcm", SharedFunctionalGroupsSequence=pydicom.Sequence())
        with pytest.raises(UserError, match="several frames") as raised:
            read_image([tmp_path / "a.dcm"])
        assert raised.value.found == "5 frames"

    def test_places_of_another_number_of_images(self, tmp_path: Path) -> None:
        self.write(tmp_path / "a.dcm", NumberOfFrames=4)
        with pytest.raises(UserError, match="damaged") as raised:
            read_image([tmp_path / "a.dcm"])
        assert raised.value.found == "the file describes 5 images and says that it holds 4"


class TestHostileFiles:
    def insert(self, path: Path, elements: bytes) -> None:
        """Put elements in front of the description of the pixels."""
        write_slice(path, noise((6, 7), "u1"))
        content = path.read_bytes()
        place = content.index(b"\x28\x00\x02\x00US")
        path.write_bytes(content[:place] + elements + content[place:])

    @pytest.mark.parametrize("tag", [b"\x09\x00\x10\x00", b"\x00\x52\x29\x92"], ids=["private", "shared groups"])
    def test_nested_sequences_end_in_an_error(self, tmp_path: Path, tag: bytes) -> None:
        self.insert(tmp_path / "0.dcm", (tag + b"SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4) * 20_000)
        with pytest.raises(UserError, match="damaged") as raised:
            read_image([tmp_path])
        assert raised.value.found == "its sequences are nested too deeply"

    @pytest.mark.parametrize("compressed", [False, True])
    def test_sequences_that_nobody_needs_are_not_parsed(self, tmp_path: Path, compressed: bool) -> None:
        """GDCM, which overflows its stack in them, is given a file without."""
        nested = b""
        for _ in range(3000):
            item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(nested)) + nested
            nested = b"\x09\x00\x10\x00SQ\0\0" + struct.pack("<I", len(item)) + item
        self.insert(tmp_path / "0.dcm", nested)
        if compressed:
            content = pydicom.dcmread(tmp_path / "0.dcm")
            content.compress(RLELossless, generate_instance_uid=False)
            content.save_as(tmp_path / "0.dcm")
        np.testing.assert_array_equal(read_image([tmp_path]).array[0, 0], noise((6, 7), "u1"))

    @pytest.mark.parametrize("kind", [b"UN", b"OB", b"SQ", b"UT"])
    def test_a_length_never_becomes_memory(self, tmp_path: Path, kind: bytes) -> None:
        for tag in (b"\x09\x00\x10\x00", b"\x28\x00\x01\x00"):
            self.insert(tmp_path / "0.dcm", tag + kind + b"\0\0\xf0\xff\xff\xff")
            with pytest.raises(UserError, match="damaged"):
                read_image([tmp_path])

    def test_a_number_of_images_never_becomes_memory(self, tmp_path: Path) -> None:
        write_slice(tmp_path / "0.dcm", noise((6, 7)), NumberOfFrames=2**31 - 1)
        with pytest.raises(UserError, match="several frames"):
            read_image([tmp_path])


@pytest.mark.filterwarnings("error")
def test_pydicom_warns_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its warnings quote what a file says, perhaps of the patient."""
    write_slice(tmp_path / "0.dcm", noise((6, 7)), PixelData=noise((6, 7)).tobytes() + bytes(10))
    with pytest.warns(UserWarning, match="pixel data"):
        _ = pydicom.dcmread(tmp_path / "0.dcm").pixel_array
    caplog.clear()
    np.testing.assert_array_equal(read_image([tmp_path]).array[0, 0], noise((6, 7)))
    assert caplog.text == ""
