"""Pictures: images are what viewers show, label maps are what is stored, turned pictures are read upright."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageOps

from tests.dataset.io.formats.page import table_of
from tests.dataset.picture_builder import (
    COLOURS,
    COLOURS_ALPHA,
    GREY,
    GREY_ALPHA,
    PALETTE,
    chunk,
    exif,
    write_bmp,
    write_png,
)
from umseg.common import memory
from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import count_components, read_geometry, read_image, read_label, write_label
from umseg.dataset.io.registry import format_of
from umseg.dataset.io.source import DamagedFileError

COMPONENTS = {GREY: 1, PALETTE: 1, GREY_ALPHA: 2, COLOURS: 3, COLOURS_ALPHA: 4}


def numbers(bits: int, components: int = 1, shape: tuple[int, int] = (19, 23)) -> NDArray[Any]:
    values = np.random.default_rng(bits).integers(0, 1 << bits, (*shape, components))
    return values.astype(np.uint16 if bits > 8 else np.uint8).squeeze(-1) if components == 1 else values


def image_of(path: Path) -> NDArray[Any]:
    """(y, x, components)."""
    values = np.moveaxis(read_image([path]).array[:, 0], 0, -1)
    assert count_components(path) == values.shape[2]
    return values


def label_word(path: Path, stored: NDArray[Any]) -> str:
    try:
        label = read_label(path)
    except UserError as error:
        return "refused" if error.problem == "A label map has several components per voxel." else error.problem
    return "as stored" if np.array_equal(label.array[0], stored) else "otherwise"


def image_word(path: Path, **expected: NDArray[Any]) -> str:
    """The name, with spaces, of the first array that a picture is read as, and whether a transparency follows it."""
    found = image_of(path)
    for name, values in expected.items():
        whole = np.atleast_3d(values)
        if whole.shape == found.shape and np.array_equal(whole, found):
            return name.replace("_", " ")
        if whole.shape[2] == found.shape[2] - 1 and np.array_equal(whole, found[..., :-1]):
            return name.replace("_", " ") + ", and a transparency"
    return "otherwise"


class TestPng:
    @pytest.mark.parametrize("interlaced", [False, True])
    @pytest.mark.parametrize("row", table_of("PNG"), ids=lambda row: f"{row[0]} {row[1]}")
    def test_table(self, tmp_path: Path, row: tuple[str, ...], interlaced: bool) -> None:
        name, all_bits, as_image, as_label = row
        kinds = {"greyscale": GREY, "palette": PALETTE, "RGB": COLOURS}
        kind = kinds[name.split()[0]]
        if name.endswith("with transparency"):
            kind = {GREY: GREY_ALPHA, COLOURS: COLOURS_ALPHA}[kind]
        for bits in map(int, all_bits.split(",")):
            values = numbers(bits, COMPONENTS[kind])
            colours = np.random.default_rng(0).integers(0, 256, (1 << bits, 3)) if kind == PALETTE else None
            transparent = None
            if "transparent" in name:
                transparent = b"\0\x40\x80"[: min(3, 1 << bits)] if kind == PALETTE else struct.pack(">3H", 1, 1, 1)
                transparent = transparent[:2] if kind == GREY else transparent
            path = write_png(tmp_path / "a.png", values, bits, kind, colours, transparent, interlaced)
            shown = values * (255 // ((1 << bits) - 1)) if bits < 8 else values
            expected = {"as_stored": values, "scaled_to_0_to_255": shown}
            if colours is not None:
                expected = {"colours_of_the_palette": colours[values]}
            assert image_word(path, **expected) == as_image
            assert label_word(path, values) == as_label

    def test_the_table_has_all_kinds(self) -> None:
        rows = [(name, bits) for name, all_bits, *_ in table_of("PNG") for bits in all_bits.split(", ")]
        assert len(rows) == len(set(rows)) == 5 + 5 + 2 + 4 + 4 + 2 + 2 + 2

    @pytest.mark.parametrize("bits", [8, 16])
    def test_the_transparency_is_that_of_the_file(self, tmp_path: Path, bits: int) -> None:
        values = numbers(bits, 2)
        path = write_png(tmp_path / "a.png", values, bits, GREY_ALPHA)
        np.testing.assert_array_equal(image_of(path), values)
        grey = values[..., 0]
        path = write_png(tmp_path / "b.png", grey, bits, GREY, transparent=struct.pack(">H", int(grey[0, 0])))
        expected = np.where(grey == grey[0, 0], 0, (1 << bits) - 1)
        np.testing.assert_array_equal(image_of(path)[..., 1], expected)

    def test_a_constant_transparency_is_left_out(self, tmp_path: Path) -> None:
        values = numbers(8, 2)
        values[..., 1] = 255
        path = write_png(tmp_path / "a.png", values, 8, GREY_ALPHA)
        image = read_image([path], 1)
        np.testing.assert_array_equal(image.array[0, 0], values[..., 0])
        assert [notice.found for notice in image.notices] == ["2 components, the last of them 255 everywhere"]
        np.testing.assert_array_equal(read_label(path).array[0], values[..., 0])

    def test_other_programs_write_these_label_maps(self, tmp_path: Path) -> None:
        values = numbers(2)
        for name, palette in (("voc", [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]), ("grey", [0, 0, 0, *[80] * 9])):
            picture = Picture.fromarray(values)
            picture.putpalette(palette)
            picture.save(tmp_path / f"{name}.png")
            np.testing.assert_array_equal(read_label(tmp_path / f"{name}.png").array[0], values)
        Picture.fromarray(values > 1).save(tmp_path / "mask.png")
        np.testing.assert_array_equal(read_label(tmp_path / "mask.png").array[0], values > 1)

    def test_fewer_rows_than_promised_are_damage(self, tmp_path: Path) -> None:
        for kind, colours in ((PALETTE, np.zeros((256, 3))), (GREY_ALPHA, None), (GREY, None)):
            values = numbers(8, COMPONENTS[kind])
            content = write_png(tmp_path / "a.png", values, 8, kind, colours).read_bytes()
            taller = chunk(b"IHDR", struct.pack(">IIBBBBB", 23, 20, 8, kind, 0, 0, 0))
            (tmp_path / "a.png").write_bytes(content[:8] + taller + content[8 + 25 :])
            for read in (read_label, lambda path: read_image([path])):
                with pytest.raises(UserError, match="damaged"):
                    read(tmp_path / "a.png")

    @pytest.mark.filterwarnings("error")
    def test_a_large_picture_is_no_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Picture, "MAX_IMAGE_PIXELS", 10)
        path = write_png(tmp_path / "a.png", numbers(8), 8, PALETTE, np.zeros((256, 3)))
        assert read_label(path).array.shape == (1, 19, 23)
        assert read_label(write_bmp(tmp_path / "a.bmp", numbers(8), 8, np.zeros((256, 3), int))).array.any()
        tifffile.imwrite(tmp_path / "a.tif", numbers(8), compression="zlib")
        assert read_label(tmp_path / "a.tif").array.any()


class TestBmp:
    @pytest.mark.parametrize(
        ("row", "form"),
        [
            (row, form)
            for row in table_of("BMP")
            for form in ({}, {"old": True}, {"from_top": True})
            # Only the usual header has these.
            if not form or not row[0].endswith(("(RLE)", "transparency"))
        ],
    )
    def test_table(self, tmp_path: Path, row: tuple[str, ...], form: dict[str, Any]) -> None:
        name, all_bits, as_image, as_label = row
        for bits in map(int, all_bits.split(",")):
            if name.startswith("palette"):
                for colours in self.palettes(1 << bits):
                    values = numbers(bits)
                    path = write_bmp(tmp_path / "a.bmp", values, bits, colours, name.endswith("(RLE)"), **form)
                    assert image_word(path, colours_of_the_palette=colours[values]) == as_image
                    assert label_word(path, values) == as_label
                continue
            masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if name.endswith("transparency") else ()
            if bits == 16:
                values = numbers(15)
                shown = np.stack([(values >> shift & 31) * 255 // 31 for shift in (10, 5, 0)], axis=-1)
            else:
                values = numbers(8, bits // 8)
                shown = values if masks else values[..., :3]
            path = write_bmp(tmp_path / "a.bmp", values, bits, masks=masks, **form)
            assert image_word(path, as_stored=shown) == as_image
            assert label_word(path, values) == as_label

    def palettes(self, size: int) -> list[NDArray[Any]]:
        greys = np.repeat(np.arange(size)[:, None] * (255 // (size - 1)), 3, axis=1)
        return [np.random.default_rng(0).integers(0, 256, (size, 3)), greys, greys[::-1]]

    def test_the_table_has_all_kinds(self) -> None:
        assert [bits for _, bits, *_ in table_of("BMP")] == ["1, 4, 8", "4, 8", "16, 24, 32", "32"]

    @pytest.mark.parametrize(("place", "value", "found"), [(30, 4, "compression JPEG"), (28, 2, "2 bits per pixel")])
    def test_other_kinds_are_named(self, tmp_path: Path, place: int, value: int, found: str) -> None:
        path = write_bmp(tmp_path / "a.bmp", numbers(8, 3), 24)
        content = bytearray(path.read_bytes())
        content[place] = value
        path.write_bytes(content)
        with pytest.raises(UserError, match="The bitmap is stored in a way that cannot be read") as raised:
            read_image([path])
        assert found in str(raised.value.found)


class TestJpeg:
    VALUES = np.random.default_rng(0).integers(0, 256, (19, 23, 4)).astype(np.uint8)

    @pytest.mark.parametrize("row", table_of("JPEG"), ids=lambda row: row[0])
    def test_table(self, tmp_path: Path, row: tuple[str, ...]) -> None:
        name, as_image = row
        path = tmp_path / "a.jpg"
        mode = {"greyscale": "L", "CMYK": "CMYK"}.get(name, "RGB")
        values = self.VALUES[..., 0] if mode == "L" else self.VALUES[..., : len(mode)]
        # Without halved colours, in which decoders differ.
        Picture.frombytes(mode, (23, 19), values.tobytes()).save(
            path, subsampling=0, progressive=name.endswith("progressive"), quality=95
        )
        content = bytearray(path.read_bytes())
        frame = next(content.find(bytes([0xFF, marker])) for marker in (0xC0, 0xC2) if bytes([0xFF, marker]) in content)
        content[frame + 1] = {"lossless": 0xC3, "hierarchical": 0xC5}.get(name, content[frame + 1])
        content[frame + 4] = 12 if name == "12 bits" else 8
        path.write_bytes(content)
        if as_image == "refused":
            with pytest.raises(UserError, match="compressed in a way that cannot be read"):
                read_image([path])
            return
        with Picture.open(path) as picture:
            truth = np.asarray(picture.convert("RGB") if mode == "CMYK" else picture)
        assert as_image == ("as RGB" if mode == "CMYK" else "as decoded")
        np.testing.assert_allclose(image_of(path), np.atleast_3d(truth), atol=1)

    def test_the_table_has_all_kinds(self) -> None:
        assert len(table_of("JPEG")) == 7


ASYMMETRIC = np.arange(7 * 10, dtype=np.uint8).reshape(7, 10)


def save_turned(path: Path, values: NDArray[Any], orientation: int) -> Path:
    """Write values as they are, and say that they are to be turned."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, values, extratags=[(274, "H", 1, orientation, True)])
    elif path.suffix == ".png":
        write_png(path, values, 8, GREY, orientation=orientation)
    else:
        fields = Picture.Exif()
        fields[274] = orientation
        Picture.fromarray(np.kron(values, np.ones((8, 8), np.uint8))).save(path, exif=fields, quality=100)
    return path


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("ending", [".tif", ".png", ".jpg"])
    def test_pictures_are_read_as_viewers_show_them(self, tmp_path: Path, ending: str, orientation: int) -> None:
        path = save_turned(tmp_path / f"a{ending}", ASYMMETRIC, orientation)
        stored = Picture.fromarray(ASYMMETRIC)
        if ending == ".jpg":
            with Picture.open(path) as picture:
                stored = Picture.fromarray(np.asarray(picture))
        stored.getexif()[274] = orientation
        shown = np.asarray(ImageOps.exif_transpose(stored))
        image = read_image([path])
        np.testing.assert_allclose(image.array[0, 0], shown, atol=2 if ending == ".jpg" else 0)
        assert read_geometry(path).shape == image.array.shape[1:] == (1, *shown.shape)
        problems = [notice.problem for notice in image.notices]
        assert problems == ["The picture is stored turned or mirrored: it is read upright, as viewers show it."] * (
            orientation != 1
        )
        if ending != ".jpg":
            np.testing.assert_array_equal(read_label(path).array[0], shown)

    @pytest.mark.parametrize("orientation", [0, 9, 4000])
    def test_numbers_that_mean_nothing_are_ignored(self, tmp_path: Path, orientation: int) -> None:
        path = save_turned(tmp_path / "a.tif", ASYMMETRIC, orientation)
        image = read_image([path])
        np.testing.assert_array_equal(image.array[0, 0], ASYMMETRIC)
        assert image.notices == ()

    def test_a_label_map_is_written_upright(self, tmp_path: Path) -> None:
        image = read_image([save_turned(tmp_path / "a.tif", ASYMMETRIC, 6)])
        write_label(tmp_path / "b.tif", image.array[0].astype(np.int16), image.geometry)
        np.testing.assert_array_equal(read_label(tmp_path / "b.tif").array, image.array[0])

    def test_a_stack_is_turned_slice_by_slice(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(0, 255, (3, 7, 10)).astype(np.uint8)
        text = "ImageJ=1.53t\nimages=3\nslices=3\nunit=mm\nspacing=3.0\n"
        fields: dict[str, Any] = {"description": text, "metadata": None, "resolution": (2.0, 4.0)}
        fields["photometric"] = "minisblack"
        tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(274, "H", 1, 6, False)], **fields)
        image = read_image([tmp_path / "a.tif"])
        np.testing.assert_array_equal(image.array[0], np.rot90(values, -1, axes=(1, 2)))
        assert image.spacing == (3.0, 0.5, 0.25)

    def test_pages_that_are_turned_differently_are_refused(self, tmp_path: Path) -> None:
        for orientations in ((1, 6), (6, 1), (3, 6)):
            with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
                for orientation in orientations:
                    writer.write(ASYMMETRIC, metadata=None, extratags=[(274, "H", 1, orientation, True)])
            with pytest.raises(UserError, match="not the slices of one image") as raised:
                read_image([tmp_path / "a.tif"])
            assert "orientation 6" in str(raised.value.found)

    @pytest.mark.parametrize("content", [b"", b"II", exif(6)[:20], b"II*\0\xff\xff\xff\xff", b"x" * 100])
    def test_damaged_exif_data_are_ignored(self, tmp_path: Path, content: bytes) -> None:
        packed = io.BytesIO()
        Picture.fromarray(ASYMMETRIC).save(packed, "JPEG", exif=b"Exif\0\0" + content)
        (tmp_path / "a.jpg").write_bytes(packed.getvalue())
        assert read_image([tmp_path / "a.jpg"]).notices == ()


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.tif": lambda path: write_label(path, ASYMMETRIC[None] % 5, _grid(2)),
    "b.tif": lambda path: write_label(path, np.stack([ASYMMETRIC] * 3), _grid(3)),
    "a.png": lambda path: write_label(path, ASYMMETRIC[None] % 5, _grid(2)),
    "b.png": lambda path: write_label(path, ASYMMETRIC[None].astype(np.uint16) * 900, _grid(2)),
    "a.bmp": lambda path: write_label(path, ASYMMETRIC[None] % 5, _grid(2)),
    "b.bmp": lambda path: write_bmp(path, ASYMMETRIC % 2, 1, np.array([[0] * 3, [255] * 3])),
    "c.bmp": lambda path: write_bmp(path, ASYMMETRIC % 16, 4, np.zeros((16, 3), int), runs=True),
    "a.jpg": lambda path: Picture.fromarray(ASYMMETRIC).save(path),
}


def _grid(axes: int) -> Geometry:
    return Geometry((10, 7, 3)[:axes], (1.0,) * axes, (0.0,) * axes, tuple(np.eye(axes).ravel()), None)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_anywhere_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    check = format_of(path).check
    check(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError):
            check(path)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "b.png", "a.bmp", "a.jpg"])
def test_more_pixels_than_memory_are_refused_beforehand(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    if name == "b.png":
        write_png(path, ASYMMETRIC, 8, PALETTE, np.zeros((256, 3)))
    else:
        Picture.fromarray(ASYMMETRIC).save(path)
    monkeypatch.setattr(memory, "available_memory", lambda: 9)
    monkeypatch.setattr(memory, "SMALL_BYTES", 0)
    with pytest.raises(UserError, match="needs more memory than there is") as raised:
        read_image([path])
    assert raised.value.file == str(path)
    if name != "a.jpg":
        with pytest.raises(UserError, match="needs more memory than there is"):
            read_label(path)
