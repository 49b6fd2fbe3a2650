"""What outputs in DICOM have in common: one file of a case, made from its series and its label map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.dataset import Case
from umseg.inference.outputs.case_output import SegmentedCase
from umseg.inference.outputs.dicom.source import SourceSeries, read_source, require_series
from umseg.inference.outputs.labels import Label, labels_of


@dataclass(frozen=True)
class DicomOutput(ABC):
    """A ``CaseOutput`` that writes one DICOM object for each case.

    Attributes:
        model: Name of the model, which the file states as the algorithm.
        ending: Ending of the file, with the dot.
        what: The object, as messages begin.
    """

    model: str

    ending: ClassVar[str]
    what: ClassVar[str]
    program_bytes: ClassVar[int] = 0

    def files(self, case: Case, folder: Path) -> Sequence[Path]:
        """As in :class:`CaseOutput`; a UserError where the case is no DICOM series."""
        require_series(case, self.what)
        return [folder / f"{case.id}{self.ending}"]

    def write(self, result: SegmentedCase, folder: Path) -> None:
        """As in :class:`CaseOutput`."""
        (path,) = self.files(result.case, folder)
        source = read_source(result.case.images[0], result.geometry)
        self.write_object(path, result.label_map, source, labels_of(result.description, result.label_map))

    @abstractmethod
    def write_object(
        self, path: Path, label_map: NDArray[np.integer[Any]], source: SourceSeries, labels: Sequence[Label]
    ) -> None:
        """Write the object, whole or not at all.

        Args:
            path: The file.
            label_map: (z, y, x), values at least 0; plane k lies on image k of the series.
            source: The series.
            labels: All labels of the label map but the background.

        Raises:
            UserError: The label map does not fit into the object, or the file cannot be written.
        """
