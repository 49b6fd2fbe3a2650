"""What is written of a segmented case besides its label map: a ``CaseOutput`` writes one kind of file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from umseg.dataset.dataset import Case
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import Geometry


@dataclass(frozen=True)
class SegmentedCase:
    """A case whose label map is known.

    Attributes:
        case: The case.
        label_map: (z, y, x) on the voxels of the image file, as it is written.
        geometry: The grid of the image file.
        description: The names and values of the labels.
        read_image: The image (channels, z, y, x), read again from its files.
        confidence: How far several predictions agree on each foreground class, NaN where none has it; None if that is
            not known.
    """

    case: Case
    label_map: NDArray[Any]
    geometry: Geometry
    description: DatasetDescription
    read_image: Callable[[], NDArray[Any]]
    confidence: tuple[float, ...] | None = None


class CaseOutput(Protocol):
    """One kind of output of every case."""

    @property
    def program_bytes(self) -> int:
        """Bytes of the parts of the program that are loaded for it."""
        ...

    def files(self, case: Case, folder: Path) -> Sequence[Path]:
        """The files that are written for a case, which is asked before anything is computed.

        Raises:
            UserError: The case cannot be written in this form, as its image shows.
        """
        ...

    def write(self, result: SegmentedCase, folder: Path) -> None:
        """Write them, each whole or not at all.

        Args:
            result: The segmented case.
            folder: The output folder.

        Raises:
            UserError: The case cannot be written in this form, or a file cannot be written.
        """
        ...
