"""What a file format is: everything that umseg asks of one, from the names of its files to its label maps.

Another package adds a format with an object of a subclass of :class:`Format`, named in its ``pyproject.toml``::

    [project.entry-points."umseg.formats"]
    zarr = "my_package.zarr_format:FORMAT"

Data sets whose ``dataset.json`` has one of its endings as ``file_ending`` can then be planned, trained on, segmented
and evaluated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import Source
from umseg.dataset.listing import is_folder, list_folder


class Format(ABC):
    """A file format. One object of a subclass is one entry in the table of formats.

    A subclass has to say ``name`` and ``endings`` and to define :meth:`open`; everything else has a default that suits
    formats of one file per image. :meth:`write_label` is needed where label maps have the format's own ending.

    Attributes:
        name: The format's name in messages.
        endings: The endings of its files in small letters, with the dot; also the values of ``file_ending`` in
            ``dataset.json``.
        is_picture: Whether files say nothing of a place in space, and may have a transparency as a component.
        flat: Whether a file holds a single slice.
        lossy: Whether values change when they are saved, so that no label map may be kept in this format.
        spacing_remedy: What a user can do about a stack of slices that does not state its spacing.
        interchange: Whether its images are also segmented by models that were trained on another format.
    """

    name: str
    endings: tuple[str, ...]
    is_picture: bool = False
    flat: bool = False
    lossy: bool = False
    interchange: bool = False
    spacing_remedy: str = "Save the image in a format that states the size of a voxel, e.g. .nii.gz."

    @abstractmethod
    def open(self, path: Path) -> Source:
        """Read the header of an image.

        Raises:
            RuntimeError, DamagedFileError, OSError: The file cannot be read.
            UserError: The file is whole, but cannot be used.
        """

    def open_label(self, path: Path) -> Source:
        """Read the header of a label map: as an image, unless the numbers that it stores are not what viewers show.

        The indices of a palette, for example, are labels; its colours are not.

        Raises:
            RuntimeError, DamagedFileError, OSError: The file cannot be read.
            UserError: The file is whole, but cannot be used.
        """
        return self.open(path)

    def has_transparency(self, path: Path, components: int) -> bool:
        """Whether the last component of an image that has so many is a transparency: in pictures, the fourth."""
        return self.is_picture and components == 4

    def channels_hint(self, path: Path) -> str:
        """What a user can do about the number of channels of an image that can be read; "" for nothing special."""
        return ""

    def ending_of(self, path: Path) -> str:
        """The longest of the format's endings that a file name has, in small letters or capitals; "" for none."""
        name = path.name.lower()
        return max((ending for ending in self.endings if name.endswith(ending)), key=len, default="")

    def matches(self, path: Path) -> bool:
        """Whether a path is an image of this format, or would be one if it existed: here by its name.

        Raises:
            UserError: The path cannot be looked at.
        """
        return bool(self.ending_of(path)) and not is_folder(path)

    def check(self, path: Path, voxel_bytes: int = 0) -> None:  # noqa: B027, not every format needs one
        """Verify length and checksums of an image as far as the format allows, in little memory.

        Args:
            path: The image.
            voxel_bytes: Size of the uncompressed voxels that the header promises, for formats that need to be told.

        Raises:
            DamagedFileError: Data are missing, or a checksum is wrong.
            OSError: The file cannot be read.
        """

    def companions(self, path: Path) -> list[Path]:
        """The files that are read together with an image file and are no images themselves."""
        return []

    def files(self, path: Path) -> list[Path]:
        """All files that hold an image."""
        return [path, *self.companions(path)]

    def label_ending(self, file_ending: str) -> str:
        """The ending of the label maps of images with this ending."""
        return file_ending

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """Write a label map, compressed.

        ``images.write_label`` calls this with a path in a temporary folder, reads the result again, and then moves all
        files of that folder to their place: an error leaves nothing behind.

        Args:
            path: The file to write.
            values: (z, y, x), of the smallest unsigned type; z is 1 for a 2-D geometry.
            geometry: The grid that the file gets.

        Raises:
            RuntimeError, UserError: The format cannot hold the label map, or the file cannot be written.
        """
        raise UserError(
            f"{self.name} files cannot be written.",
            file=path,
            expected="another file ending",
            remedy="Choose .nii.gz for volumes or .png for pictures.",
        )

    def images_in(self, folder: Path, file_ending: str) -> list[Path]:
        """The images in a folder whose names have this ending or another one of the format, sorted.

        Raises:
            UserError: The folder cannot be read.
        """
        files, folders = list_folder(folder)
        # A folder of such a name counts, to be reported.
        return sorted(path for path in (*files, *folders) if self.stem(path.name, file_ending) is not None)

    def stem(self, name: str, file_ending: str) -> str | None:
        """A file's name without its ending; None if it is no image of a data set with this ``file_ending``.

        Capitals do not matter, as on Windows, and all endings of the format count as one, e.g. ``.nii`` and
        ``.nii.gz``. What stands before the format's ending (``.seg.nrrd``) has to be there, too.
        """
        own = self.ending_of(Path(name))
        declared = self.ending_of(Path(f"case{file_ending}"))
        if bool(own) != bool(declared):
            return None
        ending = file_ending[: len(file_ending) - len(declared)] + own if declared else file_ending
        return name[: len(name) - len(ending)] if name.lower().endswith(ending.lower()) else None

    def name_ending(self, file_ending: str) -> str:
        """What the names of images end in behind the case and the channel number."""
        return file_ending

    def describe_images(self, file_ending: str) -> str:
        """What the images in a folder are, for messages."""
        return f"files ending in {file_ending}"
