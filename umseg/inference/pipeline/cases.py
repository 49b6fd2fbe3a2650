"""What the three stages do with a case: read and prepare it, segment it, and write what is made of it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.processes.patience import Patience, said_when_slow
from umseg.dataset.dataset import Case
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import read_image, read_label, write_label
from umseg.dataset.io.orientation import Turn, stored_axes
from umseg.inference.outputs.case_output import SegmentedCase
from umseg.inference.outputs.probabilities import ProbabilityFile
from umseg.inference.pipeline.memory import RunMemory
from umseg.inference.pipeline.products import Job, Products
from umseg.inference.pipeline.stages import Stop
from umseg.inference.pipeline.window_bar import window_bar
from umseg.inference.segmenter import Segmentation, Segmenter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Read:
    """A case that was read.

    Attributes:
        geometry: The grid of its file.
        axes: The orientation in which it is stored, if that is known.
        prepared: What the model made of it; None where the label map is there already.
        label_map: The label map that is there.
    """

    geometry: Geometry
    axes: str | None = None
    prepared: Any = None
    label_map: NDArray[Any] | None = None


@dataclass(frozen=True)
class Segmented:
    """A case that was segmented.

    Attributes:
        geometry: The grid of its file.
        axes: The orientation in which it is stored, if that is known.
        label_map: The label map, finished or as the networks see it.
        turn: The turn from the image's axes to those of the label map; None for a label map that is finished.
    """

    geometry: Geometry
    axes: str | None
    label_map: NDArray[Any]
    turn: Turn | None
    confidence: tuple[float, ...] | None = None

    @property
    def is_turned(self) -> bool:
        """Whether the image lies along other axes than those of training."""
        return self.axes is not None and bool(self.turn)


class CaseWork:
    """The work on cases, one at a time at each stage.

    Args:
        model: The model.
        network: Held while the networks work.
        products: What is written.
        stop: Looked at after every batch of windows.
        memory: Told of every case before it is prepared.
        quiet: Whether to show no progress bars.
    """

    def __init__(
        self,
        model: Segmenter,
        network: contextlib.AbstractContextManager[Any],
        products: Products,
        stop: Stop,
        memory: RunMemory,
        quiet: bool,
    ) -> None:
        self._model, self._network, self._products = model, network, products
        self._stop, self._memory, self._quiet = stop, memory, quiet
        # Of a label map that is there, only the other files are made.
        self.finished: set[Job] = set()
        self.seconds: dict[str, float] = {}
        self._reading, self._writing = _Doing(), _Doing()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Say where reading and writing stand when they take long; at work in this block."""
        with self._reading.watched(), self._writing.watched():
            yield

    def read(self, job: Job) -> Read:
        """Read and prepare a case.

        Raises:
            UserError: It cannot be read, or the model cannot take it.
        """
        if job.refusal is not None:
            raise job.refusal
        # Until it is written: the time when it began, counted downwards.
        self.seconds[job.name] = -time.perf_counter()
        with self._reading.doing(f"reading case {job.name}"):
            if job in self.finished:
                geometry = read_image(job.case.images, self._model.card.dataset.num_channels).geometry
                return Read(geometry, label_map=read_label(job.label.path).array)
            return self._prepare(job)

    def _prepare(self, job: Job) -> Read:
        case = job.case
        image = read_image(case.images, self._model.card.dataset.num_channels, as_stored=True)
        for notice in image.notices:
            log.warning("%s", notice)
        axes = stored_axes(case.images[0], image.geometry)
        # One that is stopped need not be prepared, which takes longest.
        self._stop.check()
        try:
            self._memory.begin(job, image.array, image.spacing, axes)
            prepared = self._model.prepare(image.array, image.spacing, axes, overwrite=True)
        except UserError as error:
            raise error.at(case.images[0]) from error
        return Read(image.geometry, axes, prepared)

    def is_small(self, read: Read) -> bool:
        """Whether a case may go through the networks with others."""
        alone = self._products.probabilities is not None
        return read.prepared is not None and not alone and self._model.is_small(read.prepared)

    def compute(self, group: Sequence[tuple[Job, Read]]) -> list[Segmented]:
        """Segment one case, or several small ones together."""
        if len(group) == 1:
            ((job, read),) = group
            return [self._segment(job, read)]
        with said_when_slow(log, f"segmenting case {group[0][0].name} and {len(group) - 1} others"), self._network:
            found = self._model.segment_small([read.prepared for _, read in group])
        return [self._result(read, segmentation) for (_, read), segmentation in zip(group, found, strict=True)]

    def _segment(self, job: Job, read: Read) -> Segmented:
        if read.label_map is not None:
            return Segmented(read.geometry, read.axes, read.label_map, None)
        with window_bar(job.name, self._quiet) as progress, self._network:

            def checked(done: int, total: int) -> None:
                self._stop.check()
                progress(done, total)

            choice, made = self._products.probabilities, job.probabilities
            file = None
            if choice is not None and made is not None:
                file = ProbabilityFile(made.path, read.geometry, choice.on_model_grid)
            return self._result(read, self._model.segment(read.prepared, checked, file))

    def _result(self, read: Read, found: Segmentation) -> Segmented:
        turn = self._model.turn_of(read.prepared)
        return Segmented(read.geometry, read.axes, found.label_map, turn, found.confidence)

    def save(self, job: Job, segmented: Segmented) -> None:
        """Finish a label map, and write it and all else that is made of it.

        Raises:
            UserError: A file cannot be written.
        """
        with self._writing.doing(f"writing case {job.name}"):
            label_map = segmented.label_map
            if segmented.turn is not None:
                label_map = self._finished(label_map, segmented.turn)
                write_label(job.label.path, label_map, segmented.geometry)
            result = SegmentedCase(
                case=job.case,
                label_map=label_map,
                geometry=segmented.geometry,
                confidence=segmented.confidence,
                description=self._model.card.dataset,
                # Several outputs need it.
                read_image=cache(partial(_image_of, job.case, self._model.card.dataset.num_channels)),
            )
            for output in self._products.outputs:
                output.write(result, job.folder)
            self.seconds[job.name] += time.perf_counter()

    def _finished(self, label_map: NDArray[Any], turn: Turn) -> NDArray[Any]:
        label_map = self._model.finish(label_map, turn)
        return label_map if self._products.choice is None else self._products.choice.apply(label_map)


class _Doing:
    """What a thread does at present: one watch for all cases, because a thread for each would take longer than some."""

    def __init__(self) -> None:
        self._what = ""
        self._patience = Patience()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        with said_when_slow(log, lambda: self._what) as self._patience:
            yield

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        self._patience.restart()
        self._what = what
        try:
            yield
        finally:
            self._what = ""


def _image_of(case: Case, num_channels: int) -> NDArray[np.float32]:
    return read_image(case.images, num_channels).array
