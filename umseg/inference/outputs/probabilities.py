"""The probabilities of all classes of a case, in a file that is written while windows go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.orientation import Turn
from umseg.inference.export.frame import Frame
from umseg.inference.export.grid import OutputGrid
from umseg.inference.export.probabilities import ProbabilityChunk, probability_chunks
from umseg.inference.export.probability_file import write_probabilities
from umseg.inference.windows.slab import Slab
from umseg.models.card import ModelCard
from umseg.preprocess.case import CaseProperties


@dataclass(frozen=True)
class ProbabilityFile:
    """A file of probabilities to be written.

    Attributes:
        path: The file.
        geometry: Grid of the image file.
        on_model_grid: As in ``ProbabilityChoice``.
    """

    path: Path
    geometry: Geometry
    on_model_grid: bool = False

    def write(self, slabs: Iterable[Slab], properties: CaseProperties, turn: Turn, card: ModelCard) -> None:
        """Write what slabs give, all of which are drawn.

        Args:
            slabs: The sums of a case's logits.
            properties: Geometry of the preprocessed image.
            turn: The turn from the image's axes to those of the training images.
            card: Card of the model.

        Raises:
            UserError: There is not enough space on the disk, or the file cannot be written.
        """
        if self.on_model_grid:
            grid = OutputGrid.same(properties.shape_after_resampling)
            frame = Frame.of_network(properties, card.plan, turn, self.geometry)
        else:
            grid = OutputGrid.of(properties, card.configuration)
            frame = Frame.of_image(properties, card.plan, turn, self.geometry)
        self.write_chunks(probability_chunks(slabs, grid, regions=card.dataset.has_regions), frame, card)

    def write_chunks(self, chunks: Iterable[ProbabilityChunk], frame: Frame, card: ModelCard) -> None:
        """Write chunks in a frame; errors are those of ``write``."""
        outputs, regions = card.dataset.num_classes, card.dataset.has_regions
        write_probabilities(self.path, chunks, frame, outputs, regions=regions)
