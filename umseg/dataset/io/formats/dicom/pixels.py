"""The pixels of a DICOM file: uncompressed ones and RLE through pydicom, other compressed ones through GDCM.

GDCM trusts what a file says: nested sequences overflow its stack, and a length becomes memory. It is therefore given a
new file with nothing in it but the pixels and their description.
"""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, RLELossless, SecondaryCaptureImageStorage

from umseg.common.errors import UserError
from umseg.dataset.io.formats.dicom.elements import PIXELS, PLAIN_SYNTAXES, read_elements
from umseg.dataset.io.formats.dicom.streams import check_stream
from umseg.dataset.io.source import DamagedFileError

_DESCRIPTION = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_PALETTE = tuple(
    f"{colour}PaletteColorLookupTable{part}" for colour in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")
)
_TAGS: tuple[BaseTag, ...] = tuple(map(Tag, (*_DESCRIPTION, *_PALETTE)))
_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422")
_BY_PYDICOM = (*PLAIN_SYNTAXES, str(RLELossless))
_DEPTHS = (1, 8, 16, 32, 64)


class Pixels:
    """The pixels of a file, read once for all of its images.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, pixel_bytes: int, as_label: bool = False) -> None:
        """Read the pixels as they are stored.

        Args:
            path: The file.
            pixel_bytes: Length of its uncompressed pixels.
            as_label: Whether the indices of a palette are wanted, and not its colours.

        Raises:
            UserError: They are of a kind that cannot be read.
            DamagedFileError, OSError: The file cannot be read.
            Exception: Whatever pydicom trips over.
        """
        self.path = path
        elements = read_elements(path, _TAGS, pixel_bytes)
        self._content = elements.found
        if not any(tag in self._content for tag in PIXELS):
            raise DamagedFileError("the file holds no pixels")
        self._syntax = elements.syntax
        self._colours = str(self._content.get("PhotometricInterpretation", "")).strip()
        self._bits = int(self._content.get("BitsAllocated", 0))
        if self._bits not in _DEPTHS:
            raise _unknown_kind(path, f"{self._bits} bits allocated per number", "1, 8, 16, 32 or 64 bits")
        stored, high = (int(self._content.get(name, 0)) for name in ("BitsStored", "HighBit"))
        if stored and high != stored - 1:
            # Some programs shift the numbers to this bit, others only state it.
            raise _unknown_kind(path, f"highest bit {high} of {stored} stored bits", f"highest bit {stored - 1}")
        self._keeps_indices = as_label
        self._compressed: list[bytes] | None = None
        if self._syntax in _BY_PYDICOM:
            self._content.file_meta = FileMetaDataset()
            self._content.file_meta.TransferSyntaxUID = UID(self._syntax)
            self._content.set_original_encoding(*_encoding(self._syntax))

    def frame(self, number: int) -> NDArray[Any]:
        """The stored numbers of an image, (rows, columns[, components]); colours as red, green and blue.

        Raises:
            UserError: They are of a kind that cannot be read.
            DamagedFileError: They are not whole.
            RuntimeError: GDCM cannot decode them.
            Exception: Whatever pydicom trips over.
        """
        plane = self._plain(number) if self._syntax in _BY_PYDICOM else self._decoded(number)
        if self._colours == "PALETTE COLOR" and not self._keeps_indices:
            return apply_color_lut(plane, self._content)
        return plane

    def _plain(self, number: int) -> NDArray[Any]:
        if self._colours not in (*_GREY, *_COLOURS):
            raise _unknown_kind(self.path, f"colours {self._colours[:16]!r}", ", ".join((*_GREY, *_COLOURS)))
        return pixel_array(self._content, index=number)

    def _decoded(self, number: int) -> NDArray[Any]:
        from umseg.dataset.io.formats.lazy_sitk import same_locale, sitk

        if self._compressed is None:
            count = int(self._content.get("NumberOfFrames", 1) or 1)
            self._compressed = list(generate_frames(self._content.PixelData, number_of_frames=count))
        if number >= len(self._compressed):
            raise DamagedFileError(f"the file holds {len(self._compressed)} images, its header promises more")
        stream = self._compressed[number]
        rows, columns = int(self._content.Rows), int(self._content.Columns)
        check_stream(stream, self._syntax, rows, columns)
        with tempfile.TemporaryDirectory(prefix="umseg-") as folder:
            file = Path(folder) / "a.dcm"
            dcmwrite(file, self._alone(stream), enforce_file_format=True)
            reader = sitk.ImageFileReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileName(str(file))
            with same_locale():
                plane: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
        return plane.reshape(rows, columns, -1).squeeze(-1) if plane.size == rows * columns else plane

    def _alone(self, stream: bytes) -> Dataset:
        """A file of one image and its description. Grey values stay as they are stored, whatever they mean."""
        content = Dataset()
        content.SOPClassUID = SecondaryCaptureImageStorage
        content.SOPInstanceUID = UID("1.2.3")
        for name in _DESCRIPTION:
            if name in self._content and name != "NumberOfFrames":
                setattr(content, name, self._content[name].value)
        if self._colours in _GREY:
            content.PhotometricInterpretation = "MONOCHROME2"
        content.file_meta = FileMetaDataset()
        content.file_meta.TransferSyntaxUID = UID(self._syntax)
        content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID
        content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
        content.PixelData = encapsulate([stream])
        content["PixelData"].VR = "OB"
        content["PixelData"].is_undefined_length = True
        return content


def _encoding(syntax: str) -> tuple[bool, bool]:
    """Whether types are implicit, and whether bytes are little endian."""
    return syntax == PLAIN_SYNTAXES[0], syntax != PLAIN_SYNTAXES[3]


def _unknown_kind(path: Path, found: str, expected: str) -> UserError:
    return UserError(
        "The pixels of a DICOM file are of a kind that cannot be read.",
        file=path,
        found=found,
        expected=expected,
        remedy="Convert the series with dcm2niix, and use its .nii.gz.",
    )
