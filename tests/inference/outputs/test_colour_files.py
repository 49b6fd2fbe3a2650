"""Colours for ITK-SNAP and 3D Slicer, in the forms that these programs write."""

from __future__ import annotations

import re

from tests.inference.outputs.dicom.series import describe
from umseg.inference.outputs.colour_files import colour_files, itk_snap_labels, slicer_colours
from umseg.inference.outputs.labels import class_labels

LABELS = class_labels(describe({"background": 0, "liver": 1, 'left "kidney" #2': 2}))


def test_itk_snap() -> None:
    rows = [line for line in itk_snap_labels(LABELS).splitlines() if not line.startswith("#")]
    assert rows == [
        '    0    0    0    0        0  0  0    "Clear Label"',
        '    1   31  119  180        1  1  1    "liver"',
        '    2  255  127   14        1  1  1    "left kidney #2"',
    ]


def test_slicer() -> None:
    rows = [line for line in slicer_colours(LABELS).splitlines() if not line.startswith("#")]
    assert rows == ["0 background 0 0 0 0", "1 liver 31 119 180 255", "2 left_kidney_2 255 127 14 255"]


def test_every_class_has_a_row_in_both_files() -> None:
    description = describe({"background": 0, **{f"class {value}": value for value in range(1, 118)}})
    files = colour_files(description)
    assert sorted(files) == ["labels.itksnap.txt", "labels.slicer.ctbl"]
    for text in files.values():
        rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
        assert [int(row[0]) for row in rows] == list(range(118))
        assert all(0 <= int(part) <= 255 for row in rows for part in row if re.fullmatch(r"\d+", part))


def test_objects_have_no_colours_of_their_own() -> None:
    assert colour_files(describe({"background": 0, "cell": 1}, task="instance")) == {}
