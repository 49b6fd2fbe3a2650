"""The memory of a run: what a case needs is said before it is computed, and decides what is read meanwhile."""

from __future__ import annotations

import logging
import math
from typing import Any

import psutil
import torch
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.memory import available_memory, require_memory
from umseg.dataset.io.images import read_geometry
from umseg.inference.needs import LATER, Needs
from umseg.inference.pipeline.products import Job
from umseg.inference.segmenter import Segmenter
from umseg.inference.windows.strips import REMEDY
from umseg.models.card import ModelCard
from umseg.planning.rules.spacing import permute, resampled_shape
from umseg.preprocess.foresight import full_spacing
from umseg.preprocess.resampling.resample import as_shape

log = logging.getLogger(__name__)

_BYTES_OF_FILE = 12
"""Bytes of a voxel of a file: as it is stored, as float32, and a normalised copy of the channel that is resampled."""
_BYTES_OF_NETWORK = 8
"""Bytes of a voxel that the network sees: the result, and one that is resampled along some of the axes."""
_WORTH_SAYING = 1.1
"""A case is spoken of if it needs more than this times what was said before."""


class RunMemory:
    """The memory of a run over cases.

    Args:
        model: The model, loaded.
        outputs: Bytes of the parts of the program that are loaded for what is written.
        alone: Whether there is only one case, beside which none is read or written.
    """

    def __init__(self, model: Segmenter, outputs: int, alone: bool) -> None:
        self._model, self._alone = model, alone
        self._program = psutil.Process().memory_info().rss + LATER + outputs
        self._limit = psutil.Process().memory_info().rss + available_memory()
        self._said = 0.0
        self._last = 0

    def begin(self, job: Job, image: NDArray[Any], spacing: tuple[float, float, float], axes: str | None) -> None:
        """Say what a case needs, if none that came before needed nearly as much, or refuse it.

        Args:
            job: The case.
            image: (channels, z, y, x) as it was read.
            spacing: mm per voxel along z, y, x.
            axes: Orientation of the array; None if it is not known.

        Raises:
            UserError: There is not enough memory.
        """
        needs = self._model.needs(image, spacing, axes)
        self._last = self._program + needs.at_once(image.nbytes)
        found = f"case {job.name} in the thinnest strips"
        require_memory(self._last, "Prediction", found=found, remedy=REMEDY, available=self._limit)
        if self._last <= _WORTH_SAYING * self._said:
            return
        self._said = self._last
        log.info("Case %s needs %s%s.", job.name, self._text(needs), "" if self._alone else self._more(needs, image))

    def _text(self, needs: Needs) -> str:
        text = f"about {_gigabytes(self._last)} of {_gigabytes(self._limit)}"
        device = torch.device(self._model.place.device)
        if device.type != "cuda":
            return text
        _, whole = torch.cuda.mem_get_info(device)
        on_gpu = torch.cuda.memory_allocated(device) + needs.on_gpu
        return f"{text} (GPU: {_gigabytes(on_gpu)} of {_gigabytes(whole)})"

    def _more(self, needs: Needs, image: NDArray[Any]) -> str:
        """What is added where another such case is read and a third one written at the same time."""
        more = needs.label_map + min(image.nbytes + needs.preparing, self._limit - self._last)
        return f"; up to {_gigabytes(self._last + more)} while another one is read and a third one written"

    def fits_beside(self, job: Job) -> bool:
        """Whether a case can be read while the last one that began is segmented.

        A case whose header cannot be read takes no memory: whoever reads it says so.
        """
        try:
            return self._last + reading_bytes(self._model.card, job) <= self._limit
        except UserError:
            return True


def reading_bytes(card: ModelCard, job: Job) -> int:
    """Bytes that reading and preparing a case take at once, by the headers of its files.

    Args:
        card: The card of the model.
        job: The case.

    Raises:
        UserError: A header cannot be read.
    """
    grids = [read_geometry(image) for image in job.case.images]
    channels, plan = card.dataset.num_channels, card.plan
    shape, spacing = grids[0].shape, grids[0].spacing
    in_file = math.prod(shape) * channels * _BYTES_OF_FILE
    if grids[0].dimensions == 2:
        return 2 * in_file
    old = permute((spacing[2], spacing[1], spacing[0]), plan.transpose_forward)
    new = full_spacing(card.configuration, old)
    seen = resampled_shape(old, as_shape([shape[axis] for axis in plan.transpose_forward]), new)
    return in_file + math.prod(seen) * channels * _BYTES_OF_NETWORK


def _gigabytes(size: int) -> str:
    value = size / 1e9
    return f"{value:.2f} GB" if value < 10 else f"{value:.1f} GB"
