"""Which files are images, by their endings: what is not listed here is given to no library.

A library that looks at contents instead finds formats that nobody meant, with readers that trust what a file says.
"""

from __future__ import annotations

from pathlib import Path

from umseg.common.errors import UserError

NIFTI_ENDINGS = (".nii.gz", ".nii")
META_ENDINGS = (".mha", ".mhd")
NRRD_ENDINGS = (".nrrd", ".nhdr")
TIFF_ENDINGS = (".tif", ".tiff")
LOSSY_ENDINGS = (".jpg", ".jpeg")
NATURAL_ENDINGS = (".png", ".bmp", *TIFF_ENDINGS, *LOSSY_ENDINGS)
"""Pictures: they say nothing of a place or a direction, and but for TIFF stacks nothing of a physical size."""

LABEL_ENDINGS = (*NIFTI_ENDINGS, *META_ENDINGS, *NRRD_ENDINGS, ".png", ".bmp", *TIFF_ENDINGS)
"""What holds label maps."""

_ITK = {
    "NiftiImageIO": NIFTI_ENDINGS,
    "MetaImageIO": META_ENDINGS,
    "NrrdImageIO": NRRD_ENDINGS,
    "TIFFImageIO": TIFF_ENDINGS,
    "JPEGImageIO": LOSSY_ENDINGS,
    "PNGImageIO": (".png",),
    "BMPImageIO": (".bmp",),
}


def has_ending(path: Path, endings: tuple[str, ...]) -> bool:
    """Whether a file's name ends in one of them, in small letters or capitals."""
    return path.name.lower().endswith(endings)


def itk_class(path: Path) -> str:
    """The name of the ITK class that reads and writes files with this ending.

    Raises:
        UserError: There is none.
    """
    for name, endings in _ITK.items():
        if has_ending(path, endings):
            return name
    raise UserError(
        "This image format is neither read nor written.",
        file=path,
        found=path.suffix or "no ending",
        expected=", ".join((*LABEL_ENDINGS, *LOSSY_ENDINGS)) + ", or DICOM slices",
        remedy="Convert the image to .nii.gz, e.g. with 3D Slicer or nibabel.",
    )
