"""``--preview``: a PNG file for every case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from umseg.dataset.dataset import Case
from umseg.dataset.io.orientation import stored_axes
from umseg.inference.outputs.case_output import SegmentedCase

FOLDER = "previews"
"""The folder, in that of the predictions, with a picture of each case."""


@dataclass(frozen=True)
class PreviewOutput:
    """Writes ``previews/CASE.png``.

    Attributes:
        classes: Names of the classes that are shown; None shows all.
    """

    classes: tuple[str, ...] | None = None

    program_bytes: ClassVar[int] = 150_000_000

    def files(self, case: Case, folder: Path) -> Sequence[Path]:
        """The file of a case."""
        return (folder / FOLDER / f"{case.id}.png",)

    def write(self, result: SegmentedCase, folder: Path) -> None:
        """Draw a case.

        Raises:
            UserError: The image cannot be read again, or the file cannot be written.
        """
        from umseg.reports.preview.contents import make_preview
        from umseg.reports.preview.drawing import draw_preview

        (path,) = self.files(result.case, folder)
        preview = make_preview(
            result.case.id,
            result.label_map,
            result.read_image(),
            result.geometry,
            result.description,
            axes=stored_axes(result.case.images[0], result.geometry),
            only=self.classes,
        )
        draw_preview(path, preview)
