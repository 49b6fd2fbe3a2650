"""``--format``: the formats of label maps, and the DICOM objects beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from umseg.common.errors import UserError
from umseg.common.registry import unknown_name
from umseg.dataset.dataset import Case
from umseg.dataset.io.images import read_geometry, refuse_flat, write_label
from umseg.dataset.io.registry import format_of, label_endings
from umseg.inference.outputs.case_output import CaseOutput, SegmentedCase

DICOM_SEG, RTSTRUCT = "dicom-seg", "rtstruct"
_OPTION = "--format"
_OBJECTS = (DICOM_SEG, RTSTRUCT)


@dataclass(frozen=True)
class Formats:
    """The formats that a user chose.

    Attributes:
        endings: Endings of label maps, with the dot; empty: that of the images, or .nii.gz where images have none.
        objects: ``dicom-seg``, ``rtstruct``, both or none, which are written beside the label map.
    """

    endings: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()

    def label_ending(self, case: Case, file_ending: str) -> str:
        """The ending of the label map of a case.

        Args:
            case: The case.
            file_ending: Ending of the images in the model's data set.
        """
        return self.endings[0] if self.endings else case.label_ending(file_ending)

    def outputs(self, model: str) -> tuple[CaseOutput, ...]:
        """What is written besides the label map.

        Args:
            model: Name of the model, which DICOM objects state.
        """
        # Reading and writing DICOM takes time to import.
        from umseg.inference.outputs.dicom_seg import DicomSegOutput
        from umseg.inference.outputs.rtstruct import RtstructOutput

        makers: dict[str, Callable[[str], CaseOutput]] = {DICOM_SEG: DicomSegOutput, RTSTRUCT: RtstructOutput}
        objects = tuple(makers[name](model) for name in self.objects)
        return (*(LabelFileOutput(ending) for ending in self.endings[1:]), *objects)


@dataclass(frozen=True)
class LabelFileOutput:
    """Writes the label map in a further format.

    Attributes:
        ending: The ending of the file, with the dot.
    """

    ending: str

    program_bytes: ClassVar[int] = 60_000_000

    def files(self, case: Case, folder: Path) -> Sequence[Path]:
        """As in :class:`CaseOutput`."""
        path = folder / f"{case.id}{self.ending}"
        if format_of(path).flat:
            refuse_flat(path, read_geometry(case.images[0]))
        return [path]

    def write(self, result: SegmentedCase, folder: Path) -> None:
        """As in :class:`CaseOutput`."""
        write_label(folder / f"{result.case.id}{self.ending}", result.label_map, result.geometry)


def parse_formats(text: str) -> Formats:
    """The formats of a list such as ``nrrd`` or ``nii.gz,dicom-seg``.

    Raises:
        UserError: A name is no format of label maps, or there is none.
    """
    known = {ending.removeprefix("."): ending for ending in label_endings()}
    names = [part.strip().lower().removeprefix(".") for part in text.split(",") if part.strip()]
    if not names:
        raise UserError(
            f"{_OPTION} names no format.",
            expected=", ".join([*known, *_OBJECTS]),
            remedy="Name at least one format, or leave out the option.",
        )
    for name in names:
        if name not in known and name not in _OBJECTS:
            raise unknown_name("format", name, [*known, *_OBJECTS], _OPTION)
    unique = list(dict.fromkeys(names))
    return Formats(
        tuple(known[name] for name in unique if name in known), tuple(name for name in unique if name in _OBJECTS)
    )
