"""TIFF: pages that are channels, and label maps of every type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.dataset.tiff_builder import Tiff
from umseg.common.errors import UserError
from umseg.dataset.io.images import count_components, read_image, read_label
from umseg.dataset.naming import channels_problem

SLICES = np.random.default_rng(0).integers(1, 60_000, (4, 5, 6)).astype(np.uint16)


class TestChannels:
    """Pages that are channels, because the file says so."""

    PAGES = np.random.default_rng(2).integers(0, 60_000, (6, 5, 7)).astype(np.uint16)

    @pytest.mark.parametrize("axes", ["CYX", "ZCYX", "CZYX"])
    @pytest.mark.parametrize("writer", ["imagej", "ome", "shaped"])
    def test_they_are_channels(self, tmp_path: Path, axes: str, writer: str) -> None:
        if (writer, axes) == ("imagej", "CZYX"):
            axes = "ZCYX"  # ImageJ knows one order
        shape = {"CYX": (6,), "ZCYX": (3, 2), "CZYX": (2, 3)}[axes]
        values = self.PAGES.reshape(*shape, 5, 7)
        kind: dict[str, Any] = {"imagej": {"imagej": True}, "ome": {"ome": True}, "shaped": {}}[writer]
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": axes}, **kind)
        expected = {"CYX": values[:, None], "ZCYX": values.swapaxes(0, 1) if values.ndim == 4 else values}
        channels = expected.get(axes, values)
        image = read_image([path])
        np.testing.assert_array_equal(image.array, channels)
        assert (image.geometry.dimensions, count_components(path)) == (2 if axes == "CYX" else 3, len(channels))

    def test_colours_in_planes_are_one_page(self, tmp_path: Path) -> None:
        values = self.PAGES[:3]
        options: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate", "metadata": {"axes": "CYX"}}
        tifffile.imwrite(tmp_path / "a.tif", values, **options)
        np.testing.assert_array_equal(read_image([tmp_path / "a.tif"]).array[:, 0], values)

    @pytest.mark.parametrize("order", ["XYCZT", "XYZCT"])
    def test_ome_names_the_order(self, tmp_path: Path, order: str) -> None:
        text = f'<OME><Image><Pixels DimensionOrder="{order}" SizeZ="3" SizeC="2" SizeT="1"></Pixels></Image></OME>'
        path = Tiff(self.PAGES[..., None], text=text).write(tmp_path / "a.tif")
        expected = self.PAGES.reshape(3, 2, 5, 7).swapaxes(0, 1) if order == "XYCZT" else self.PAGES.reshape(2, 3, 5, 7)
        np.testing.assert_array_equal(read_image([path]).array, expected)

    def test_pages_in_an_order_of_their_own_are_refused(self, tmp_path: Path) -> None:
        planes = '<TiffData IFD="0" FirstZ="0" FirstC="1"/><TiffData IFD="1" FirstZ="0" FirstC="0"/>'
        text = (
            f'<OME><Image><Pixels DimensionOrder="XYCZT" SizeZ="3" SizeC="2" SizeT="1">{planes}</Pixels></Image></OME>'
        )
        path = Tiff(self.PAGES[..., None], text=text).write(tmp_path / "a.tif")
        with pytest.raises(UserError, match="in another order than its axes"):
            read_image([path])

    def test_tifffiles_files_whose_pages_are_left_out_are_refused(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", self.PAGES, photometric="minisblack", truncate=True)
        with pytest.raises(UserError, match="number of pages"):
            read_image([tmp_path / "a.tif"])

    def test_a_label_map_has_no_channels(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, self.PAGES[:2], imagej=True, metadata={"axes": "CYX"})
        with pytest.raises(UserError, match="several components"):
            read_label(path)

    @pytest.mark.parametrize("stated", [True, False])
    def test_a_case_with_too_few_channels_says_what_to_do(self, tmp_path: Path, stated: bool) -> None:
        path = tmp_path / "c_0000.tif"
        options: dict[str, Any] = {"imagej": True, "metadata": {"axes": "CYX"}} if stated else {"metadata": None}
        tifffile.imwrite(path, self.PAGES[:2], photometric="minisblack", **options)
        declared = 3 if stated else 2
        problem = channels_problem("c", [path], declared, "")
        assert problem is not None
        assert ("says that its pages are 2 channels" if stated else "2 pages are slices unless") in problem.remedy
        two_channels = channels_problem("c", [path], 2, "")
        assert (two_channels is None) == stated

    def test_a_constant_channel_is_no_transparency(self, tmp_path: Path) -> None:
        values = self.PAGES[:4].copy()
        values[3] = 9
        tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "CYX"})
        assert len(read_image([tmp_path / "a.tif"], 3).array) == 4

    @pytest.mark.parametrize(("kind", "channels"), [("unassalpha", 1), (0, 2)])
    def test_grey_with_transparency(self, tmp_path: Path, kind: Any, channels: int) -> None:
        values = np.stack([self.PAGES[0], np.full_like(self.PAGES[0], 255)], axis=-1)
        options: dict[str, Any] = {"planarconfig": "contig", "extrasamples": [kind], "metadata": None}
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", **options)
        image = read_image([tmp_path / "a.tif"], 1)
        assert len(image.array) == channels
        np.testing.assert_array_equal(image.array[0, 0], self.PAGES[0])


class TestLabels:
    @pytest.mark.parametrize(("dtype", "highest"), [("u8", 2**63), ("u8", 2**64 - 1), ("f8", 1e20), ("f8", 2.0**63)])
    def test_values_of_more_than_63_bits_are_refused(self, tmp_path: Path, dtype: str, highest: float) -> None:
        values = np.zeros((1, 5, 6, 1), dtype)
        values[0, 0, 0, 0] = highest
        with pytest.raises(UserError, match="too large") as raised:
            read_label(Tiff(values).write(tmp_path / "a.tif"))
        assert "Renumber" in str(raised.value.remedy)

    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8", "u8"])
    def test_whole_numbers_of_any_type(self, tmp_path: Path, dtype: str) -> None:
        values = (SLICES % 5).astype(dtype)[..., None]
        label = read_label(Tiff(values).write(tmp_path / "a.tif"))
        np.testing.assert_array_equal(label.array, SLICES % 5)
        assert label.array.dtype == np.int8

    def test_the_largest_value(self, tmp_path: Path) -> None:
        values = np.full((1, 5, 6, 1), 2**63 - 1, np.uint64)
        assert read_label(Tiff(values).write(tmp_path / "a.tif")).array.max() == 2**63 - 1
