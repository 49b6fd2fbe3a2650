"""TIFF: every type, byte order, compression, layout and predictor gives the array that was written, or is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Picture

from tests.dataset.io.formats.page import table_of
from tests.dataset.tiff_builder import (
    COMPRESSIONS,
    DIFFERENCES,
    FLOATING_POINT,
    LAYOUTS,
    MIN_IS_BLACK,
    MIN_IS_WHITE,
    NO_PREDICTOR,
    PALETTE,
    RGB,
    Tiff,
)
from umseg.common.errors import UserError
from umseg.dataset.io.formats.tiff import decode, pages
from umseg.dataset.io.images import read_image, read_label

WHOLE = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8")
REAL = ("f2", "f4", "f8")
GROUPS = {"1 bit": ("?",), "whole numbers": WHOLE, "half, single, double": REAL}
REFUSED = "The pixels of a TIFF file are stored in a way that cannot be read."
UNKNOWN = {"JPEG 2000": 34712, "WebP": 50001, "LERC": 34887}
LOSSLESS = [name for name in COMPRESSIONS if name != "JPEG"]


@pytest.fixture(autouse=True)
def without_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is about what umseg reads by itself."""
    monkeypatch.setattr(pages, "_has_imagecodecs", lambda: False)


def some_values(dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    random = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return random.random(shape) < 0.3
    if kind.kind == "f":
        return random.normal(size=shape).astype(kind)
    limits = np.iinfo(kind)
    return random.integers(max(limits.min, -30_000), min(limits.max, 30_000), shape, endpoint=True).astype(kind)


def outcome(path: Path, values: NDArray[Any]) -> str:
    """Whether a file of these (pages, y, x, components) is read as they are, as image and label map, or refused."""
    try:
        image = read_image([path])
    except UserError as error:
        return "refused" if error.problem == REFUSED else error.problem
    np.testing.assert_array_equal(image.array, np.moveaxis(values, -1, 0).astype(np.float32))
    if values.shape[-1] == 1 and values.dtype.kind != "f":
        np.testing.assert_array_equal(read_label(path).array, values[..., 0])
    return "read"


def predictors(dtype: str, compression: str) -> list[int]:
    if dtype == "?" or compression == "none":
        return [NO_PREDICTOR]
    return [NO_PREDICTOR, DIFFERENCES, *([FLOATING_POINT] if dtype in REAL else [])]


@pytest.mark.parametrize("compression", LOSSLESS)
def test_types_and_layouts(tmp_path: Path, compression: str) -> None:
    number = COMPRESSIONS[compression]
    if number == COMPRESSIONS["Zstandard"] and not decode._libtiff_knows(number):
        pytest.skip("this Pillow knows no Zstandard")
    path = tmp_path / "a.tif"
    found: dict[str, set[str]] = {group: set() for group in GROUPS}
    orders = itertools.cycle("<>>")
    for group, dtypes in GROUPS.items():
        if compression.startswith("CCITT") and group != "1 bit":
            found[group] = {refused_by_tag(path, number, dtypes[0])}
            continue
        for dtype, layout in itertools.product(dtypes, LAYOUTS):
            shape = (2 if layout == "pages" else 1, 19, 23, 2 if layout == "planes" and dtype != "?" else 1)
            values = some_values(dtype, shape)
            for predictor in predictors(dtype, compression):
                Tiff(values, next(orders), number, layout, predictor).write(path)
                found[group].add(outcome(path, values))
    assert (compression, *(" and ".join(sorted(words)) for words in found.values())) in table_of("TIFF")


def refused_by_tag(path: Path, compression: int, dtype: str, **more: Any) -> str:
    """The outcome of a file whose tag names a compression; what is compressed does not matter."""
    values = some_values(dtype, (1, 19, 23, 1))
    Tiff(values, compression=1, **more).write(path)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[259].overwrite(compression)
    return outcome(path, values)


def test_jpeg_is_read_with_8_bits_in_strips(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for values in (some_values("u1", (19, 23)), np.full((19, 23, 3), 90, np.uint8)):
        Picture.fromarray(values).save(path, compression="jpeg", quality=95)
        with Picture.open(path) as picture:
            decoded = np.atleast_3d(np.asarray(picture))
        assert outcome(path, decoded[None]) == "read"
    groups = [{refused_by_tag(path, 7, dtype) for dtype in dtypes if dtype != "u1"} for dtypes in GROUPS.values()]
    assert groups == [{"refused"}] * 3
    assert refused_by_tag(path, 7, "u1", layout="tiles") == "refused"
    assert ("JPEG", "refused", "read with 8 bits in strips", "refused") in table_of("TIFF")


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_compressions_are_refused(tmp_path: Path, name: str) -> None:
    assert {refused_by_tag(tmp_path / "a.tif", UNKNOWN[name], dtype) for dtype in ("?", *WHOLE, *REAL)} == {"refused"}
    assert ("others: JPEG 2000, WebP, LERC", *["refused"] * 3) in table_of("TIFF")


def test_all_rows_of_the_page_are_tested() -> None:
    assert [row[0] for row in table_of("TIFF")] == [*LOSSLESS, "JPEG", "others: JPEG 2000, WebP, LERC"]


@pytest.mark.parametrize("bits", [2, 4, 12])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", ["none", "deflate", "LZW"])
def test_numbers_that_lie_across_bytes(tmp_path: Path, bits: int, layout: str, compression: str) -> None:
    shape = (2 if layout == "pages" else 1, 19, 23, 2 if layout == "planes" else 1)
    values = np.random.default_rng(0).integers(0, 1 << bits, shape).astype(np.uint8 if bits < 8 else np.uint16)
    path = Tiff(values, ">", COMPRESSIONS[compression], layout, bits=bits).write(tmp_path / "a.tif")
    assert outcome(path, values) == "read"


@pytest.mark.parametrize(
    ("photometric", "dtype"),
    [
        *itertools.product([MIN_IS_WHITE, MIN_IS_BLACK, RGB], ["?", "u1", "u2", "i2", "f2", "f4"]),
        # Palettes are for few bits.
        *itertools.product([PALETTE], ["?", "u1"]),
    ],
)
@pytest.mark.parametrize("compression", ["none", "LZW", "deflate"])
def test_colours_do_not_change_numbers(tmp_path: Path, photometric: int, dtype: str, compression: str) -> None:
    values = some_values(dtype, (1, 19, 23, 3 if photometric == RGB and dtype != "?" else 1))
    path = Tiff(values, compression=COMPRESSIONS[compression], photometric=photometric).write(tmp_path / "a.tif")
    assert outcome(path, values) == "read"
    notices = read_image([path]).notices
    shown_otherwise = photometric in (MIN_IS_WHITE, PALETTE)
    assert [notice.problem.startswith("A TIFF file is read as it is stored") for notice in notices] == [
        True
    ] * shown_otherwise


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_what_is_written_here_is_what_tifffile_reads(tmp_path: Path, big: bool, order: str) -> None:
    for dtype, layout in itertools.product((*WHOLE, *REAL), LAYOUTS):
        values = some_values(dtype, (2 if layout == "pages" else 1, 19, 23, 2 if layout == "planes" else 1))
        path = Tiff(values, order, layout=layout, compression=8, predictor=DIFFERENCES, big=big).write(
            tmp_path / "a.tif"
        )
        read = tifffile.imread(path)
        planar = np.moveaxis(values, -1, 1) if layout == "planes" else values
        np.testing.assert_array_equal(read, planar.squeeze())
        assert outcome(path, values) == "read"


@pytest.mark.parametrize("block", [1, 300, 700])
@pytest.mark.parametrize("layout", ["strips", "tiles", "planes"])
@pytest.mark.parametrize("compression", ["none", "deflate", "LZW"])
def test_strips_and_tiles_are_read_in_groups(
    tmp_path: Path, compression: str, layout: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "_BLOCK", block)
    values = some_values("u1", (1, 45, 53, 3 if layout == "planes" else 1))
    path = Tiff(values, compression=COMPRESSIONS[compression], layout=layout, predictor=DIFFERENCES)
    assert outcome(path.write(tmp_path / "a.tif"), values) == "read"


@pytest.mark.parametrize("fill", [1, 2])
@pytest.mark.parametrize("compression", LOSSLESS)
def test_order_of_bits(tmp_path: Path, fill: int, compression: str) -> None:
    number = COMPRESSIONS[compression]
    if not decode._libtiff_knows(number):
        pytest.skip("this Pillow does not know the compression")
    values = some_values("?", (1, 19, 23, 1))
    content = Tiff(values, compression=number, tags={266: [fill]}).content()
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    if fill == 2:
        with tifffile.TiffFile(path) as file:
            (offset,), (size,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
        reverse = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
        path.write_bytes(
            content[:offset] + content[offset : offset + size].translate(reverse) + content[offset + size :]
        )
    assert outcome(path, values) == "read"
