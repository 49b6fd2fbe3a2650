"""Whether there is memory to read a case while another one is segmented."""

from __future__ import annotations

import math

from umseg.common.errors import UserError
from umseg.common.memory import exceeded_memory
from umseg.dataset.io.images import read_geometry
from umseg.inference.pipeline.products import Job
from umseg.models.card import ModelCard
from umseg.planning.rules.spacing import permute, resampled_shape
from umseg.preprocess.preprocess import full_spacing
from umseg.preprocess.resampling.resample import as_shape

_BYTES_OF_FILE = 12
"""Bytes of a voxel of a file: as it is stored, as float32, and a normalised copy of the channel that is resampled."""
_BYTES_OF_NETWORK = 8
"""Bytes of a voxel that the network sees: the result, and one that is resampled along some of the axes."""


class ReadingMemory:
    """Compares what reading and preparing a case takes with the memory that is free.

    Args:
        card: The card of the model.
    """

    def __init__(self, card: ModelCard) -> None:
        self._card = card

    def fits_beside(self, job: Job) -> bool:
        """Whether a case can be read now, without the memory that will be free after the present one.

        A case whose header cannot be read takes no memory: whoever reads it says so.
        """
        try:
            return exceeded_memory(self.needed(job)) is None
        except UserError:
            return True

    def needed(self, job: Job) -> int:
        """Bytes that reading and preparing a case take at once.

        Raises:
            UserError: A header cannot be read.
        """
        grids = [read_geometry(image) for image in job.case.images]
        channels = self._card.dataset.num_channels
        shape = grids[0].shape
        spacing = grids[0].spacing
        plan = self._card.plan
        in_file = math.prod(shape) * channels * _BYTES_OF_FILE
        if grids[0].dimensions == 2:
            return 2 * in_file
        old = permute((spacing[2], spacing[1], spacing[0]), plan.transpose_forward)
        new = full_spacing(self._card.configuration, old)
        seen = resampled_shape(old, as_shape([shape[axis] for axis in plan.transpose_forward]), new)
        return in_file + math.prod(seen) * channels * _BYTES_OF_NETWORK
