"""What is known of an image file before its voxels are read, and the errors that all formats share."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.memory import explained_memory, require_memory
from umseg.common.text import by
from umseg.dataset.io.content import foreign_content
from umseg.dataset.io.grid import Geometry
from umseg.dataset.listing import not_readable

_ITK_OBJECT = re.compile(r"^ITK ERROR: \w+\(0x[0-9a-f]+\): ")


class DamagedFileError(Exception):
    """The file is not whole, or does not hold what its header promises; the message says how that shows."""


@dataclass(frozen=True)
class Notice:
    """Something about a file that does not stop the work, but that the user should be told once.

    Attributes:
        problem: The kind of notice, in the same words for every file.
        file: The file concerned.
        found: What was found there.
        expected: What would need no notice.
        remedy: What the user can do.
    """

    problem: str
    file: Path
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem} Found {self.found}; expected {self.expected}. {self.remedy}"


@dataclass(frozen=True)
class Source:
    """An opened image: its header, and the function that reads its voxels.

    Attributes:
        geometry: The grid. It has more than three axes for a file that cannot be used (see ``refuse_many_axes``).
        components: Numbers per voxel, e.g. 3 for RGB.
        read: A function that returns the voxels, (components, z, y, x). It raises a ``RuntimeError``, ``OSError``,
            ``DamagedFileError`` or ``UserError`` rather than return an image that is partly filled.
        notices: What the user should know about the file.
        late_notices: A function that returns what was noticed while the voxels were read, once they were.
        holds: A function that says whether the voxels are those of an array (z, y, x), which it compares a few at a
            time; errors are those of ``read``. None where only ``read`` can tell.
    """

    geometry: Geometry
    components: int
    read: Callable[[], NDArray[Any]]
    notices: tuple[Notice, ...] = ()
    late_notices: Callable[[], tuple[Notice, ...]] = tuple
    holds: Callable[[NDArray[Any]], bool] | None = None


def refuse_many_axes(path: Path, size: Sequence[int]) -> None:
    """Refuse images that are neither 2-D nor 3-D.

    Raises:
        UserError: The image has more axes, or fewer.
    """
    if len(size) in (2, 3):
        return
    raise UserError(
        f"The image has {len(size)} dimensions; only 2-D and 3-D images can be used.",
        file=path,
        found=f"size {by(size)}",
        expected="2 or 3 dimensions",
        remedy="Split the file into one 3-D file per channel or time point (CASE_0000, CASE_0001, ... for channels): "
        "`umseg convert msd` splits the channels of a Decathlon task, nibabel's four_to_three any NIfTI file.",
    )


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a file that its format's library could not read."""
    if isinstance(error, PermissionError):
        return not_readable(path, error)
    other = foreign_content(path)
    if other is not None:
        return UserError(
            "A file is of another kind than its ending says.",
            file=path,
            found=other.name,
            expected="what the ending of its name says",
            remedy=other.remedy
            or f"Rename the file to {other.endings[0]}, or convert it to the kind of the other files.",
        )
    return UserError(
        "An image file is damaged, incomplete or in an unknown format.",
        file=path,
        found="an empty file" if path.is_file() and path.stat().st_size == 0 else last_line(error),
        remedy="Copy the file again from its source, or take the case out of the data set.",
    )


def last_line(error: Exception) -> str:
    """The last line of an error's message; ITK begins with lines about its own source code and objects."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _ITK_OBJECT.sub("", lines[-1]) if lines else type(error).__name__


@contextlib.contextmanager
def within_memory(path: Path, geometry: Geometry, components: int, value_bytes: int = 1) -> Iterator[None]:
    """Refuse an image that cannot fit into memory, and explain where the memory was less than that.

    Args:
        path: The image.
        geometry: Its grid.
        components: Numbers per voxel.
        value_bytes: Least number of bytes that each of them takes.

    Raises:
        UserError: There was not enough memory.
    """
    what, found = "Reading the image", f"size {by(geometry.size)}, {components} numbers per voxel"
    remedy = "Check that this size is right; cut the image in parts, or work where there is more memory."
    needed = components * math.prod(geometry.size) * value_bytes
    require_memory(needed, what, file=path, found=found, remedy=remedy)
    with explained_memory(what, needed=needed, file=path, found=found, remedy=remedy):
        yield
