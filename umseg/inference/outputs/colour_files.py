"""Names and colours of labels as viewers read them: ITK-SNAP's label descriptions and 3D Slicer's colour table.

Neither format has a way to quote: names lose what would end them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from umseg.dataset.description import DatasetDescription
from umseg.inference.outputs.labels import Label, class_labels

ITK_SNAP_FILE = "labels.itksnap.txt"
SLICER_FILE = "labels.slicer.ctbl"

_ITK_SNAP_HEADER = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    MSH:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""


def colour_files(description: DatasetDescription) -> Mapping[str, str]:
    """The texts of the files with names and colours that stand beside label maps, by file name.

    In an instance task, whose labels are numbers without a meaning, there are none.
    """
    labels = class_labels(description)
    if not labels:
        return {}
    return {ITK_SNAP_FILE: itk_snap_labels(labels), SLICER_FILE: slicer_colours(labels)}


def itk_snap_labels(labels: Sequence[Label]) -> str:
    """The text of an ITK-SNAP label description file (Segmentation > Import Label Descriptions)."""
    rows = [_itk_snap_row(0, (0, 0, 0), 0, "Clear Label")]
    rows += [_itk_snap_row(label.value, label.colour, 1, re.sub(r'["\s]+', " ", label.name)) for label in labels]
    return _ITK_SNAP_HEADER + "".join(rows)


def slicer_colours(labels: Sequence[Label]) -> str:
    """The text of a colour table of 3D Slicer, in which names are words."""
    rows = ["0 background 0 0 0 0\n"]
    for label in labels:
        name = re.sub(r'[\s"#]+', "_", label.name)
        rows.append(f"{label.value} {name} {' '.join(map(str, label.colour))} 255\n")
    return "# Color table file labels.slicer.ctbl\n" + f"# {len(rows)} values\n" + "".join(rows)


def _itk_snap_row(value: int, colour: tuple[int, int, int], shown: int, name: str) -> str:
    red, green, blue = (f"{part:>5}" for part in colour)
    return f'{value:>5}{red}{green}{blue}{shown:>9}{shown:>3}{shown:>3}    "{name}"\n'
