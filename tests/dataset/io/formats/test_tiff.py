"""TIFF: stacks and their spacing, layouts, damage. Files are written byte by byte, as other programs write them."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Picture
from tifffile import TiffFile

from tests.dataset.builder import write_description, write_image
from tests.dataset.tiff_builder import Tiff
from umseg.common.errors import UserError
from umseg.dataset.check.case import check_case
from umseg.dataset.check.digest import case_digest
from umseg.dataset.check.fix_headers import fix_geometry
from umseg.dataset.dataset import find_cases, load_dataset
from umseg.dataset.io.formats.tiff import guard, pages, write
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import read_image, read_label, write_label

IMAGEJ = "ImageJ=1.53t\nimages=4\nslices=4\nunit=micron\nspacing=3.0\nloop=false\n"
OME = (
    '<?xml version="1.0"?><OME><Image><Pixels DimensionOrder="XYZCT" Type="uint16" SizeX="6" SizeY="5" SizeZ="4" '
    'SizeC="1" SizeT="1" PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="0.25" PhysicalSizeZ="2.0">'
    "</Pixels></Image></OME>"
)
STACK = np.random.default_rng(0).integers(1, 60_000, (4, 5, 6)).astype(np.uint16)


def save(path: Path, values: NDArray[Any] = STACK, text: str = "", **fields: Any) -> Path:
    """Write pages with Pillow."""
    pages = [Picture.fromarray(plane) for plane in values]
    info = {270: text} if text else {}
    pages[0].save(path, save_all=True, append_images=pages[1:], tiffinfo=info, **fields)
    return path


class TestSpacing:
    def test_imagej(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", text=IMAGEJ, x_resolution=4.0, y_resolution=2.0)
        image = read_image([path])
        np.testing.assert_array_equal(image.array[0], STACK)
        assert image.spacing == pytest.approx((3e-3, 0.5e-3, 0.25e-3), rel=1e-6)
        assert image.geometry.spacing == pytest.approx((0.25e-3, 0.5e-3, 3e-3), rel=1e-6)
        assert image.notices == ()

    @pytest.mark.parametrize("unit", ["um", "\\u00B5m", "micron"])
    def test_units_of_a_micrometre(self, tmp_path: Path, unit: str) -> None:
        text = IMAGEJ.replace("micron", unit)
        path = save(tmp_path / "a.tif", text=text, x_resolution=1.0, y_resolution=1.0)
        assert read_image([path]).spacing == pytest.approx((3e-3, 1e-3, 1e-3))

    def test_ome(self, tmp_path: Path) -> None:
        image = read_image([save(tmp_path / "a.ome.tif", text=OME)])
        np.testing.assert_array_equal(image.array[0], STACK)
        assert image.spacing == pytest.approx((2e-3, 0.25e-3, 0.5e-3))

    def test_nothing_told_is_noticed_once(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif")
        image = read_image([path])
        assert image.spacing == (1.0, 1.0, 1.0)
        assert image.geometry.unit is None
        (notice,) = image.notices
        assert (notice.file, notice.found) == (path, "4 slices without a spacing")

    @pytest.mark.parametrize("text", [IMAGEJ.replace("unit=micron\n", ""), IMAGEJ.replace("micron", "pixel")])
    def test_imagej_without_a_unit_says_how_long_the_axes_are_in_pixels(self, tmp_path: Path, text: str) -> None:
        image = read_image([save(tmp_path / "a.tif", text=text)])
        assert (image.spacing, image.geometry.unit) == ((3.0, 1.0, 1.0), "px")
        write_label(tmp_path / "b.tif", STACK % 3, image.geometry)
        assert read_label(tmp_path / "b.tif").geometry == image.geometry

    def test_ome_without_a_unit_of_length(self, tmp_path: Path) -> None:
        text = OME.replace('Unit="nm"', 'Unit="pixel"')
        image = read_image([save(tmp_path / "a.tif", text=text)])
        assert image.geometry.unit == "px"

    @pytest.mark.parametrize("texts", [(IMAGEJ, ""), ("", IMAGEJ), (IMAGEJ.replace("unit=micron\n", ""), IMAGEJ)])
    def test_one_channel_tells_it_for_all(self, tmp_path: Path, texts: tuple[str, str]) -> None:
        fields: dict[str, Any] = {"x_resolution": 4.0, "y_resolution": 2.0}
        paths = [
            save(tmp_path / f"a_{n:04d}.tif", text=text, **(fields if text else {})) for n, text in enumerate(texts)
        ]
        image = read_image(paths, 2)
        assert image.spacing == pytest.approx((3e-3, 0.5e-3, 0.25e-3), rel=1e-6)
        assert (image.geometry.unit, image.notices) == ("mm", ())

    def test_channels_that_tell_nothing_are_noticed_once(self, tmp_path: Path) -> None:
        image = read_image([save(tmp_path / f"a_{n:04d}.tif") for n in range(2)], 2)
        assert [notice.file.name for notice in image.notices] == ["a_0000.tif"]

    def test_channels_that_tell_different_spacings_are_refused(self, tmp_path: Path) -> None:
        texts = ("", IMAGEJ, IMAGEJ.replace("3.0", "2.0"))
        paths = [save(tmp_path / f"a_{n:04d}.tif", text=text) for n, text in enumerate(texts)]
        with pytest.raises(UserError, match="differ in spacing") as raised:
            read_image(paths, 3)
        assert raised.value.file == str(paths[2])

    def test_resolutions_of_print_are_not_compared(self, tmp_path: Path) -> None:
        paths = [save(tmp_path / f"a_{n:04d}.tif", STACK[:1], dpi=(dots, dots)) for n, dots in enumerate((72, 300))]
        assert read_image(paths, 2).spacing == (999.0, 1.0, 1.0)

    @pytest.mark.parametrize("name", ["a.json", "a_0000.json"])
    def test_json_beside_the_file_goes_first(self, tmp_path: Path, name: str) -> None:
        path = save(tmp_path / "a_0000.tif", text=IMAGEJ)
        (tmp_path / name).write_text(json.dumps({"spacing": [5, 0.4, 0.3]}))
        image = read_image([path])
        assert image.spacing == (5.0, 0.4, 0.3)
        assert image.notices == ()

    @pytest.mark.parametrize("spacing", [[1, 2], [1, 2, "x"], [1, 2, -1], None, 3])
    def test_wrong_json(self, tmp_path: Path, spacing: object) -> None:
        path = save(tmp_path / "a.tif")
        (tmp_path / "a.json").write_text(json.dumps({"spacing": spacing}))
        with pytest.raises(UserError, match="not three positive numbers") as raised:
            read_image([path])
        assert raised.value.file == str(tmp_path / "a.json")


class TestDatasets:
    def write(self, folder: Path, text: str = IMAGEJ, label_text: str = "") -> Path:
        write_description(folder, 1, file_ending=".tif", labels={"background": 0, "cell": 1})
        for place in ("imagesTr", "labelsTr"):
            (folder / place).mkdir()
        save(folder / "imagesTr" / "c_0000.tif", text=text)
        save(folder / "labelsTr" / "c.tif", (STACK % 2).astype(np.uint8), text=label_text)
        return folder

    @pytest.mark.parametrize(("text", "label_text"), [(IMAGEJ, ""), (IMAGEJ, IMAGEJ), ("", IMAGEJ)])
    def test_a_label_map_without_spacing_has_that_of_its_image(
        self, tmp_path: Path, text: str, label_text: str
    ) -> None:
        dataset = load_dataset(self.write(tmp_path, text, label_text))
        (case,) = dataset.cases
        assert case.label is not None
        image = read_image(case.images, 1)
        problems = check_case(case, image, read_label(case.label), dataset.description)
        assert [problem.severity for problem in problems] == ["warning"] * len(image.notices)

    def test_spacings_that_differ_are_an_error(self, tmp_path: Path) -> None:
        dataset = load_dataset(self.write(tmp_path, IMAGEJ, IMAGEJ.replace("3.0", "2.0")))
        (case,) = dataset.cases
        assert case.label is not None
        (problem,) = check_case(case, read_image(case.images, 1), read_label(case.label), dataset.description)
        assert problem.problem == "Image and label map differ in spacing."
        assert "--fix-geometry" in problem.remedy
        (fixed,) = fix_geometry(dataset, tmp_path / "fixed", quiet=True).cases
        assert fixed.label == tmp_path / "fixed" / "c.tif"
        assert check_case(fixed, read_image(case.images, 1), read_label(fixed.label), dataset.description) == []

    def test_json_files_are_no_strange_files_and_count_in_the_digest(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = self.write(tmp_path)
        for place in ("imagesTr", "labelsTr"):
            (folder / place / "c.json").write_text(json.dumps({"spacing": [5, 0.4, 0.3]}))
        (case,) = load_dataset(folder).cases
        before = case_digest(case)
        (folder / "imagesTr" / "c.json").write_text(json.dumps({"spacing": [5, 0.4, 0.4]}))
        assert case_digest(case) != before
        assert len(find_cases(folder / "imagesTr", 1, ".tif")) == 1
        assert caplog.text == ""


class TestRefusal:
    @pytest.mark.parametrize(
        "text",
        [
            "ImageJ=1.53t\nimages=4\nframes=4\nhyperstack=true\n",
            "ImageJ=1.53t\nimages=4\nchannels=2\nframes=2\nhyperstack=true\n",
            OME.replace('SizeZ="4"', 'SizeZ="1"').replace('SizeT="1"', 'SizeT="4"'),
            '{"shape": [4, 5, 6], "axes": "TYX"}',
        ],
    )
    def test_time_points(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(UserError, match="time points") as raised:
            read_image([save(tmp_path / "a.tif", text=text)])
        assert raised.value.found
        assert raised.value.remedy

    def test_fewer_pages_than_promised(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="number of pages"):
            read_image([save(tmp_path / "a.tif", text=IMAGEJ.replace("=4", "=9"))])

    def test_pages_of_different_size(self, tmp_path: Path) -> None:
        pages = [Picture.fromarray(STACK[0]), Picture.fromarray(STACK[0, :3, :3])]
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
        with pytest.raises(UserError, match="not the slices of one image"):
            read_image([tmp_path / "a.tif"])

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_tiles(self, tmp_path: Path, dtype: type) -> None:
        values: NDArray[Any] = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (16, 16)).astype(dtype)
        write_tiled(tmp_path / "a.tif", values)
        np.testing.assert_array_equal(read_image([tmp_path / "a.tif"], 1).array[0, 0], values)

    def test_pages_in_a_circle(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        write_label(path, STACK[:1], Geometry((6, 5, 1), (1.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel()), None))
        content = bytearray(path.read_bytes())
        count = struct.unpack_from("<H", content, 8)[0]
        struct.pack_into("<I", content, 10 + 12 * count, 8)
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged") as raised:
            read_image([path])
        assert "circle" in str(raised.value.found)

    @settings(max_examples=60, deadline=None)
    @given(data=st.data(), compression=st.sampled_from([None, "tiff_adobe_deflate", "tiff_lzw"]))
    def test_a_truncated_stack_is_never_a_shorter_one(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, compression: str | None
    ) -> None:
        path = save(tmp_path_factory.mktemp("cut") / "a.tif", compression=compression)
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        try:
            array = read_image([path]).array[0]
        except UserError:
            return
        np.testing.assert_array_equal(array, STACK)

    @pytest.mark.parametrize("place", [33, 577])
    def test_a_page_of_impossible_height_is_refused_at_once(self, tmp_path: Path, place: int) -> None:
        """The highest byte of the rows of the first and of the third page."""
        path = save(tmp_path / "a.tif", text=IMAGEJ)
        content = bytearray(path.read_bytes())
        assert content[place] == 0
        content[place] = 82
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_image([path])
        assert "more than" in str(caught.value.found)

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_changed_bytes_end_in_an_image_or_a_clear_error(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        path = save(tmp_path_factory.mktemp("changed") / "a.tif", text=IMAGEJ)
        content = bytearray(path.read_bytes())
        for _ in range(3):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            image = read_image([path])
        except UserError:
            return
        assert image.array.size < 1 << 24


RANDOM = np.random.default_rng(1)
GREY = RANDOM.integers(0, 60_000, (37, 50)).astype(np.uint16)
COLOURS = RANDOM.integers(0, 256, (37, 50, 3)).astype(np.uint8)


class TestStoredValues:
    """Values are those in the file, whatever they are to look like."""

    @pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint64", "float16", "float64"])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_types(self, tmp_path: Path, dtype: str, compression: str | None) -> None:
        values = (STACK % 120).astype(dtype) / np.array(4 if "float" in dtype else 1, dtype)
        tifffile.imwrite(tmp_path / "a.tif", values.astype(dtype), compression=compression, photometric="minisblack")
        np.testing.assert_array_equal(read_image([tmp_path / "a.tif"]).array[0], values.astype(np.float32))

    @pytest.mark.parametrize(
        "options",
        [
            {"photometric": "miniswhite"},
            {"byteorder": ">"},
            {"compression": "zlib", "predictor": True, "rowsperstrip": 7},
            {"tile": (16, 32)},
            {"tile": (16, 32), "compression": "zlib", "byteorder": ">"},
            {"rowsperstrip": 7},
        ],
    )
    def test_encodings(self, tmp_path: Path, options: dict[str, Any]) -> None:
        tifffile.imwrite(tmp_path / "a.tif", GREY, **options)
        np.testing.assert_array_equal(read_image([tmp_path / "a.tif"]).array[0, 0], GREY)
        np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array[0], GREY)

    def test_a_mask_of_one_bit(self, tmp_path: Path) -> None:
        for name, photometric in (("a", "minisblack"), ("b", "miniswhite")):
            tifffile.imwrite(tmp_path / f"{name}.tif", GREY > 30_000, photometric=photometric)
            np.testing.assert_array_equal(read_label(tmp_path / f"{name}.tif").array[0], GREY > 30_000)

    def test_indices_of_a_palette(self, tmp_path: Path) -> None:
        values = (GREY % 4).astype(np.uint8)
        colours = RANDOM.integers(0, 65_536, (3, 256)).astype(np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="palette", colormap=colours)
        np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array[0], values)

    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_colours_in_planes(self, tmp_path: Path, compression: str | None) -> None:
        planes = np.moveaxis(COLOURS, -1, 0)
        options: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate", "compression": compression}
        tifffile.imwrite(tmp_path / "a.tif", planes, **options)
        np.testing.assert_array_equal(read_image([tmp_path / "a.tif"], 3).array[:, 0], planes)

    def test_strips_of_pages_that_lie_apart(self, tmp_path: Path) -> None:
        """The strips of the first page lie one behind the other, those of the second in reverse order."""
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, STACK[:2], rowsperstrip=1, photometric="minisblack", metadata=None)
        with TiffFile(path) as file:
            tag = file.pages[1].tags[273]
            places = tag.value
            content = bytearray(path.read_bytes())
        struct.pack_into(f"<{len(places)}I", content, tag.valueoffset, *places[::-1])
        path.write_bytes(content)
        np.testing.assert_array_equal(read_image([path]).array[0, 1], STACK[1, ::-1])

    def test_reduced_copies_are_left_out(self, tmp_path: Path) -> None:
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            writer.write(GREY, metadata=None)
            writer.write(GREY[::2, ::2], subfiletype=1, metadata=None)
        np.testing.assert_array_equal(read_image([tmp_path / "a.tif"]).array[0, 0], GREY)


class TestEncodingsThatCannotBeRead:
    @pytest.fixture(autouse=True)
    def without_imagecodecs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pages, "_has_imagecodecs", lambda: False)

    def refused(self, path: Path) -> str:
        with pytest.raises(UserError, match="stored in a way that cannot be read") as raised:
            read_image([path])
        assert "imagecodecs" in str(raised.value.remedy)
        return str(raised.value.found)

    @pytest.mark.parametrize(("compression", "name"), [(34712, "JPEG2000"), (34887, "LERC"), (60_000, "60000")])
    def test_unknown_compression_is_named(self, tmp_path: Path, compression: int, name: str) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, GREY, compression="zlib")
        with TiffFile(path, mode="r+") as file:
            file.pages[0].tags[259].overwrite(compression)
        assert f"compression {name}," in self.refused(path)

    def test_complex_values(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.complex64))
        with pytest.raises(UserError, match="complex"):
            read_image([tmp_path / "a.tif"])

    def test_pages_of_different_types(self, tmp_path: Path) -> None:
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            writer.write(GREY, metadata=None)
            writer.write(GREY.astype(np.int16), metadata=None)
        with pytest.raises(UserError, match="not the slices of one image") as raised:
            read_image([tmp_path / "a.tif"])
        assert "2 kinds: 50 x 37 of 1 x uint16, 50 x 37 of 1 x int16" in str(raised.value.found)


class TestHostileFiles:
    @pytest.mark.parametrize("value", [0, 1 << 30])
    def test_strips_without_a_place(self, tmp_path: Path, value: int) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, GREY, compression="zlib", rowsperstrip=7)
        with TiffFile(path) as file:
            at = file.pages[0].tags[273].valueoffset
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, at + 8, value)
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            read_image([path])

    def test_fewer_strips_than_needed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, GREY, compression="zlib", rowsperstrip=7)
        with TiffFile(path, mode="r+") as file:
            file.pages[0].tags[257].overwrite(43)
        with pytest.raises(UserError, match="damaged") as raised:
            read_image([path])
        assert raised.value.found == "parts of a page are missing"

    def test_no_more_is_inflated_than_promised(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        write_tiled(path, GREY[:16, :16])
        content = path.read_bytes()
        bomb = zlib.compress(GREY[:16, :16].tobytes() + bytes(1 << 28))
        count = zlib.compress(GREY[:16, :16].tobytes())
        packed = struct.pack("<HHII", 325, 4, 1, len(count))
        assert content.count(packed) == 1
        head = content.replace(packed, struct.pack("<HHII", 325, 4, 1, len(bomb)))[: -len(count)]
        path.write_bytes(head + bomb)
        tracemalloc.start()
        try:
            np.testing.assert_array_equal(read_image([path]).array[0, 0], GREY[:16, :16])
            assert tracemalloc.get_traced_memory()[1] < 1 << 24
        finally:
            tracemalloc.stop()

    def test_too_short_a_strip(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        write_tiled(path, GREY[:16, :16])
        short = zlib.compress(GREY[:15, :16].tobytes())
        content = path.read_bytes()
        path.write_bytes(content[: 8 + 2 + 10 * 12 + 4] + short + bytes(600))
        with pytest.raises(UserError, match="damaged"):
            read_image([path])

    def test_random_changes(self, tmp_path: Path) -> None:
        kinds: dict[str, dict[str, Any]] = {
            "strips": {"rowsperstrip": 3},
            "deflate": {"compression": "zlib", "rowsperstrip": 3},
            "tiles": {"tile": (16, 16)},
            "big": {"bigtiff": True, "byteorder": ">"},
        }
        random = np.random.default_rng(0)
        outcomes = set()
        for name, options in kinds.items():
            path = tmp_path / f"{name}.tif"
            tifffile.imwrite(path, STACK, photometric="minisblack", description=IMAGEJ, metadata=None, **options)
            whole = path.read_bytes()
            for _ in range(60):
                content = bytearray(whole)
                for place in random.integers(0, len(whole), random.integers(1, 6)):
                    content[place] = random.integers(0, 256)
                path.write_bytes(content)
                try:
                    outcomes.add(read_image([path]).array.dtype.name)
                except UserError:
                    outcomes.add("refused")
        assert outcomes == {"float32", "refused"}

    @pytest.mark.parametrize(
        "text",
        [
            "<OME" + "<Pixels " * 250_000,
            "<OME><Pixels " + "a" * 2_000_000,
            "<OME><Pixels " + "a" * 3000 + ">" + "<Channel a='" * 200_000,
            "<OME><Pixels a=''>" + ("<TiffData " * 400 + ">") * 500,
            "<OME><Pixels>" + "<TiffData IFD='" * 150_000,
            "<OME><Pixels " + 'a = "' * 1000 + ">",
            "ImageJ=1.53t\n" + "a=" * 1_000_000,
            '{"shape":' + "[" * 100_000,
            '{"shape": [' + "9" * 5000 + ', 5, 6], "axes": "ZYX"}',
            '{"shape": [1e999, 5, 6], "axes": "ZYX"}',
        ],
    )
    def test_long_texts_are_searched_once(self, tmp_path: Path, text: str) -> None:
        """A search whose time grows with the square of the length would not end."""
        path = Tiff(STACK[:, :, :, None][:1], text=text).write(tmp_path / "a.tif")
        np.testing.assert_array_equal(read_image([path]).array[0], STACK[:1])

    def test_tags_that_share_their_values(self, tmp_path: Path) -> None:
        """Each of many pages names the same long list; together they are longer than the file."""
        path = tmp_path / "a.tif"
        content = bytearray(Tiff(STACK[:1, :, :, None], tags={65_000: [7] * 40_000}).content())
        (count,) = struct.unpack_from("<H", content, 8)
        link = 10 + 12 * count
        table = content[8:link]
        for count in (2, 3):
            struct.pack_into("<I", content, link, len(content))
            link = len(content) + len(table)
            content += table + bytes(4)
            path.write_bytes(content)
            with pytest.raises(UserError, match="damaged") as raised:
                read_image([path])
            assert "lie over each other" in str(raised.value.found), count

    @pytest.mark.parametrize("tag", [256, 277])
    def test_sizes_are_single_numbers(self, tmp_path: Path, tag: int) -> None:
        """A list times a number would be a list so many times as long."""
        path = tmp_path / "a.tif"
        content = bytearray(Tiff(STACK[:1, :, :, None], tags={65_000: [7] * 400}).content())
        path.write_bytes(content)
        with TiffFile(path) as file:
            place = file.pages[0].tags[tag].offset
            values = file.pages[0].tags[65_000].valueoffset
        struct.pack_into("<HHII", content, place, tag, 3, 400, values)
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged") as raised:
            read_image([path])
        assert f"the tag {tag} of a page has 400 numbers" in str(raised.value.found)

    def test_a_page_without_columns(self, tmp_path: Path) -> None:
        path = Tiff(STACK[:1, :, :, None], layout="tiles").write(tmp_path / "a.tif")
        with TiffFile(path, mode="r+") as file:
            file.pages[0].tags[256].overwrite(0)
        with pytest.raises(UserError, match="damaged") as raised:
            read_label(path)
        assert raised.value.found == "a page has no pixels"

    def test_too_many_tags_and_pages(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = Tiff(STACK[:, :, :, None]).write(tmp_path / "a.tif")
        for name, found in (("_MOST_PAGES", "more than 3 pages"), ("_MOST_TAGS", "tags, more than 3")):
            with monkeypatch.context() as patch:
                patch.setattr(guard, name, 3)
                with pytest.raises(UserError, match="damaged") as raised:
                    read_image([path])
            assert found in str(raised.value.found)


class TestWriting:
    @settings(max_examples=40, deadline=None)
    @given(
        shape=st.tuples(st.integers(2, 4), st.integers(1, 9), st.integers(1, 9)),
        spacing=st.tuples(*[st.floats(1e-5, 1e4)] * 3),
        highest=st.sampled_from([1, 255, 256, 65_535, 65_536, 2**31 + 5]),
        big=st.booleans(),
    )
    def test_round_trip(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        highest: int,
        big: bool,
    ) -> None:
        path = tmp_path_factory.mktemp("stack") / "a.tif"
        values = np.random.default_rng(0).integers(0, highest, shape, endpoint=True)
        values.flat[0] = highest
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(write, "_PLAIN_LIMIT", 0 if big else 1 << 31)
            write_label(path, values, Geometry(shape[::-1], spacing, (0.0,) * 3, tuple(np.eye(3).ravel())))
        label = read_label(path)
        np.testing.assert_array_equal(label.array, values)
        assert label.geometry.unit == "mm"
        assert label.geometry.spacing == pytest.approx(spacing, rel=1e-6)
        with TiffFile(path) as file:
            assert file.is_bigtiff == big
            assert {page.dtype for page in file.pages} == {np.min_scalar_type(highest)}

    def test_other_programs_read_it(self, tmp_path: Path) -> None:
        write_label(
            tmp_path / "a.tif", STACK, Geometry((6, 5, 4), (0.5, 0.25, 2.0), (0.0,) * 3, tuple(np.eye(3).ravel()))
        )
        with Picture.open(tmp_path / "a.tif") as picture:
            assert picture.n_frames == 4
            for number in range(4):
                picture.seek(number)
                np.testing.assert_array_equal(np.asarray(picture), STACK[number])
            picture.seek(0)
            assert (float(picture.tag_v2[282]), float(picture.tag_v2[283])) == (2.0, 4.0)

    def test_a_stack_without_spacing_stays_so(self, tmp_path: Path) -> None:
        image = read_image([save(tmp_path / "a.tif")])
        write_label(tmp_path / "b.tif", STACK % 3, image.geometry)
        label = read_label(tmp_path / "b.tif")
        assert label.geometry == image.geometry
        np.testing.assert_array_equal(label.array, STACK % 3)

    def test_colours_in_a_stack(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3)).astype(np.uint8)
        image = read_image([save(tmp_path / "a.tif", values, text=IMAGEJ)], 3)
        np.testing.assert_array_equal(image.array, np.moveaxis(values, -1, 0))
        assert image.spacing[0] == pytest.approx(3e-3)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
    def test_types_of_voxels(self, tmp_path: Path, dtype: type) -> None:
        lowest = 0 if np.dtype(dtype).kind == "u" else -100
        values: NDArray[Any] = (STACK.astype(np.float64) % 250 + lowest).astype(dtype)
        image = read_image([write_image(tmp_path / "a.tif", values)])
        np.testing.assert_array_equal(image.array[0], values.astype(np.float32))


def write_tiled(path: Path, values: NDArray[Any]) -> None:
    """One page of one tile."""
    height, width = values.shape
    pixels = zlib.compress(values.tobytes())
    tags = [(256, width), (257, height), (258, values.itemsize * 8), (259, 8), (262, 1), (277, 1)]
    tags += [(322, width), (323, height), (324, 8 + 2 + 10 * 12 + 4), (325, len(pixels))]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + table + struct.pack("<I", 0) + pixels)
