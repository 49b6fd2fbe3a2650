"""DICOM: a folder that holds the slices of one series is one image."""

from __future__ import annotations

from pathlib import Path

from umseg.dataset.io.format import Format
from umseg.dataset.io.source import Source
from umseg.dataset.listing import is_folder, is_lost, list_folder, not_readable, refuse_missing

_PREAMBLE, _MAGIC = 128, b"DICM"
# The first element of the meta information, with which files begin that lack the preamble.
_FIRST = b"\x02\0\0\0UL\x04\0"
_INDEX = "DICOMDIR"


class Dicom(Format):
    """DICOM series, whose label maps are NIfTI files; segmentations in DICOM that are read again are single files."""

    name = "DICOM"
    endings = (".dcm",)
    interchange = True

    def open(self, path: Path) -> Source:
        """As in :class:`Format`, for a folder of slices or a single file."""
        from umseg.dataset.io.formats.dicom.series import open_series

        return open_series(path, self.slices(path))

    def open_label(self, path: Path) -> Source:
        """As in :class:`Format`; a single file may also be a segmentation whose pixels are labels (LABELMAP)."""
        from umseg.dataset.io.formats.dicom.series import open_series

        return open_series(path, self.slices(path), as_label=not is_folder(path))

    def matches(self, path: Path) -> bool:
        """Whether a path is a folder of slices, or one of them."""
        return self.is_series(path) if is_folder(path) else path.is_file() and self.is_slice(path)

    def is_series(self, folder: Path) -> bool:
        """Whether there is a folder that holds DICOM files."""
        return is_folder(folder) and any(map(self.is_slice, list_folder(folder)[0]))

    def slices(self, path: Path) -> list[Path]:
        """The DICOM files in a folder, reports and other objects among them, or a single file itself.

        Raises:
            UserError: A link that may have been a slice leads nowhere, or the folder cannot be read.
        """
        if not is_folder(path):
            return [path]
        # A link that leads nowhere may be a slice: without it, the volume would be another one.
        slices = [file for file in list_folder(path)[0] if is_lost(file) or self.is_slice(file)]
        for file in slices:
            refuse_missing(file)
        return slices

    def is_slice(self, path: Path) -> bool:
        """Whether a file is DICOM, by its name or by its first bytes: many archives leave out the ending.

        Raises:
            UserError: The file cannot be read.
        """
        if path.name == _INDEX:
            return False
        if self.ending_of(path):
            return True
        try:
            # A pipe or a device is not opened: reading it may never end.
            if not path.is_file():
                return False
            with path.open("rb") as handle:
                start = handle.read(_PREAMBLE + len(_MAGIC))
        except OSError as error:
            raise not_readable(path, error) from error
        return start[_PREAMBLE:] == _MAGIC or start.startswith(_FIRST)

    def files(self, path: Path) -> list[Path]:
        """The slices of a series, sorted by name; reports and other objects beside them are left out."""
        from umseg.dataset.io.formats.dicom.series import holds_image

        return [file for file in self.slices(path) if holds_image(file)] if is_folder(path) else [path]

    def label_ending(self, file_ending: str) -> str:
        """As in :class:`Format`."""
        return ".nii.gz"

    def images_in(self, folder: Path, file_ending: str) -> list[Path]:
        """The folders in a folder that hold DICOM files, sorted, and links that may have led to such folders."""
        files, folders = list_folder(folder)
        lost = [path for path in files if not path.suffix and is_lost(path)]
        return sorted([*lost, *(path for path in folders if self.is_series(path))])

    def name_ending(self, file_ending: str) -> str:
        """As in :class:`Format`: names of folders have no ending."""
        return ""

    def describe_images(self, file_ending: str) -> str:
        """As in :class:`Format`."""
        return "folders of DICOM slices"
