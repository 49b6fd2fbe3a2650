"""A preview is a picture of its own size, with the colours of the label files and the names of the largest classes."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.inference.outputs.segmented import describe, segmented
from tests.orientations import write_along
from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import Geometry, Unit
from umseg.inference.outputs.labels import class_labels, labels_of
from umseg.reports.preview.contents import Preview, make_preview
from umseg.reports.preview.drawing import draw_preview
from umseg.reports.preview.output import PreviewOutput

NESTED = describe({"background": 0, "whole": (1, 2, 3), "core": (2, 3), "active": (3,)}, regions_class_order=(1, 2, 3))


def grid(shape: tuple[int, ...], spacing: tuple[float, ...] = (1.0, 1.0, 1.0), unit: Unit | None = "mm") -> Geometry:
    axes = len(shape)
    return Geometry(shape[::-1], spacing[:axes], (0.0,) * axes, tuple(np.eye(axes).ravel()), unit)


def preview_of(
    label_map: NDArray[Any],
    description: DatasetDescription | None = None,
    geometry: Geometry | None = None,
    **more: Any,
) -> Preview:
    image = np.random.default_rng(0).normal(size=(1, *label_map.shape)).astype(np.float32)
    return make_preview(
        "case",
        label_map,
        image,
        geometry or grid(label_map.shape),
        description or describe(),
        **{"axes": "LPS", **more},
    )


def blocks(count: int) -> NDArray[np.uint8]:
    """Classes of which each is larger than the one before."""
    label_map = np.zeros((count, 12, count + 3), np.uint8)
    for value in range(1, count + 1):
        label_map[value - 1, 2:10, 1 : 1 + value] = value
    return label_map


def drawn(preview: Preview, path: Path) -> NDArray[np.uint8]:
    draw_preview(path, preview)
    with Image.open(path) as picture:
        return np.asarray(picture)


def count_of(pixels: NDArray[np.uint8], colour: tuple[int, ...]) -> int:
    return int((pixels == colour).all(axis=-1).sum())


def test_classes_have_the_colours_of_the_label_files(tmp_path: Path) -> None:
    pixels = drawn(preview_of(blocks(2)), tmp_path / "a.png")
    assert pixels.shape[2] == 3
    for label in class_labels(describe()):
        # Of its swatch in the legend and of its outlines.
        assert count_of(pixels, label.colour) > 13 * 13
    assert not list(tmp_path.glob(".tmp-*"))


def test_the_legend_names_the_largest_classes_first() -> None:
    description = describe({"background": 0, **{f"gyrus {value}": value for value in range(1, 119)}})
    preview = preview_of(blocks(118), description)
    assert [entry.name for entry in preview.legend] == [f"gyrus {value}" for value in range(118, 98, -1)]
    assert preview.note == "and 98 more"
    assert preview.legend[0].amount == "0.944 ml"
    assert preview.subtitle.endswith("118 of 118 classes")


@pytest.mark.parametrize(
    ("spacing", "unit", "shape", "amount"),
    [
        ((1.0, 1.0, 1.0), "mm", (2, 12, 5), "0.0160 ml"),
        ((100.0, 100.0, 10.0), "mm", (2, 12, 5), "1,600 ml"),
        ((2.0, 1.0, 1.0), "mm", (1, 12, 5), "16.0 mm²"),
        ((2.0, 1.0, 1.0), "px", (2, 12, 5), "16 px"),
        ((2.0, 1.0), None, (12, 5), "8 px"),
    ],
)
def test_amounts_have_a_unit_that_the_file_allows(
    spacing: tuple[float, ...], unit: Unit | None, shape: tuple[int, ...], amount: str
) -> None:
    label_map = blocks(2)[: shape[0] if len(shape) == 3 else 1]
    preview = preview_of(label_map, geometry=grid(shape, spacing, unit))
    assert preview.legend[0].amount == amount


def test_regions_are_shown_with_all_their_values() -> None:
    label_map = np.zeros((6, 6, 6), np.uint8)
    label_map[1:5, 1:5, 1:5], label_map[2:4, 2:4, 2:4], label_map[2, 2, 2] = 1, 2, 3
    whole, core, active = (tuple(np.divide(label.colour, 255)) for label in class_labels(NESTED))
    preview = preview_of(label_map, NESTED)
    assert [(entry.name, entry.amount) for entry in preview.legend] == [
        ("whole", "0.0640 ml"),
        ("core", "0.00800 ml"),
        ("active", "0.00100 ml"),
    ]
    np.testing.assert_allclose(preview.colours[1:], [whole, core, active], atol=1e-6)
    chosen = preview_of(label_map * (label_map > 1), NESTED, only=("core",))
    assert [entry.name for entry in chosen.legend] == ["core"]
    np.testing.assert_allclose(chosen.colours, [(0, 0, 0), (0, 0, 0), core, core], atol=1e-6)


def test_objects_are_counted_and_have_colours_of_their_own(tmp_path: Path) -> None:
    description = describe({"background": 0, "nucleus": 1}, task="instance")
    objects = np.zeros((1, 30, 40), np.uint16)
    for number in range(1, 7):
        objects[0, 5 * number - 4 : 5 * number - 1, 4:30] = number
    preview = preview_of(objects, description, grid((30, 40), unit=None), axes=None)
    assert preview.subtitle.endswith("6 objects (nucleus)")
    assert not preview.legend
    pixels = drawn(preview, tmp_path / "a.png")
    colours = [label.colour for label in labels_of(description, objects)]
    assert len(set(colours)) == 6
    assert all(count_of(pixels, colour) > 100 for colour in colours)


def test_a_case_without_a_class_is_drawn(tmp_path: Path) -> None:
    preview = preview_of(np.zeros((5, 6, 7), np.uint8))
    times = "\N{MULTIPLICATION SIGN}"
    assert preview.subtitle == "7 x 6 x 5 voxels of 1 x 1 x 1 mm: 0 of 2 classes".replace("x ", f"{times} ")
    assert len(preview.panels) == 3
    assert drawn(preview, tmp_path / "a.png").std() > 10


NAMES = ["$x^2$ \\frac", "肝脏", "a" * 200, "&<>"]


def test_names_are_drawn_whatever_they_hold(tmp_path: Path) -> None:
    odd = describe({"background": 0, **{name: value for value, name in enumerate(NAMES, start=1)}})
    preview = preview_of(blocks(4), odd)
    pixels = drawn(preview, tmp_path / "a.png")
    plain = drawn(
        preview_of(blocks(4), describe({"background": 0, "a": 1, "b": 2, "c": 3, "d": 4})), tmp_path / "b.png"
    )
    # The longest name is cut off.
    assert 0 < pixels.shape[1] - plain.shape[1] < 300


def test_settings_of_matplotlib_change_nothing(tmp_path: Path) -> None:
    preview = preview_of(blocks(3), describe({"background": 0, "a": 1, "b": 2, "c": 3}))
    expected = drawn(preview, tmp_path / "a.png")
    with matplotlib.rc_context(
        {
            "text.usetex": True,
            "savefig.bbox": "tight",
            "savefig.dpi": 30,
            "font.family": "serif",
            "image.origin": "lower",
        }
    ):
        np.testing.assert_array_equal(drawn(preview, tmp_path / "b.png"), expected)


def test_pictures_drawn_at_once_are_those_drawn_one_by_one(tmp_path: Path) -> None:
    previews = [preview_of(np.roll(blocks(2), shift, 1)) for shift in range(4)]
    expected = [drawn(preview, tmp_path / f"{number}.png") for number, preview in enumerate(previews)]
    with ThreadPoolExecutor(4) as pool:
        files = [tmp_path / f"thread_{number}.png" for number in range(4)]
        found = list(pool.map(drawn, previews, files))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_large_image_is_not_copied() -> None:
    label_map = np.zeros((128, 512, 512), np.uint8)
    label_map[20:100, 100:400, 100:400] = 1
    image = np.zeros((1, *label_map.shape), np.float32)
    tracemalloc.start()
    try:
        make_preview("case", label_map, image, grid(label_map.shape), describe(), axes="LPS")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The label map has 34 MB, and the image 134 MB.
    assert peak < 90e6


def test_the_output_is_one_picture_per_case(tmp_path: Path) -> None:
    image = write_along(tmp_path / "case_0000.nii", np.random.default_rng(0).normal(size=(9, 8, 7)), "LPS")
    case = segmented(image, np.ones((9, 8, 7), np.uint8))
    output = PreviewOutput(classes=("organ",))
    output.write(case, tmp_path / "out")
    (path,) = output.files(case.case, tmp_path / "out")
    assert path == tmp_path / "out" / "previews" / "case.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
    assert [file.name for file in (tmp_path / "out" / "previews").iterdir()] == ["case.png"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "previews").write_text("a file")
    image = write_along(tmp_path / "case_0000.nii", np.zeros((9, 8, 7), np.float32), "LPS")
    with pytest.raises(UserError, match="cannot be written"):
        PreviewOutput().write(segmented(image, np.ones((9, 8, 7), np.uint8)), tmp_path)
