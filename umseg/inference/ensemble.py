"""Several models that predict together: their probabilities are averaged on the voxels of the image.

Source: paper, Discussion. The models may have different plans; their windows go on in step, so that no more than a few
planes of probabilities are in memory.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.memory import require_memory
from umseg.common.text import by
from umseg.dataset.instances import find_instances
from umseg.dataset.io.orientation import Turn
from umseg.inference.confidence import Agreement
from umseg.inference.export.frame import Frame
from umseg.inference.export.grid import OutputGrid
from umseg.inference.export.probabilities import ProbabilityChunk, collect_probabilities, probability_chunks
from umseg.inference.export.target import LabelTarget, label_numbers
from umseg.inference.model import LoadedModel, Stages
from umseg.inference.needs import Needs
from umseg.inference.outputs.probabilities import ProbabilityFile
from umseg.inference.pipeline.record import Settings
from umseg.inference.postprocessing.classes import ClassCleaning
from umseg.inference.same_data import require_same_data
from umseg.inference.segmentation import region_values
from umseg.inference.segmenter import Place, Progress, Segmentation
from umseg.inference.windows.slab import Strip
from umseg.models.card import ModelCard
from umseg.preprocess.instance_cleaning import Cleaning

_CHUNK_NUMBERS = 2**25
"""Numbers of the probabilities of one model that are in memory at once."""

_NUMBER_BYTES = 4

Probabilities = NDArray[np.float32]


class Ensemble:
    """A ``Segmenter`` of several models.

    Args:
        members: At least two models.
        class_cleaning: How label maps of classes are cleaned; None leaves them as they are.
        cleaning: How maps of objects are cleaned.
        confidence: Whether it is counted how far the models agree.

    Raises:
        UserError: The models were trained for different channels or labels.
    """

    def __init__(
        self,
        members: Sequence[LoadedModel],
        class_cleaning: ClassCleaning | None = None,
        cleaning: Cleaning | None = None,
        *,
        confidence: bool = False,
    ) -> None:
        self.members = tuple(members)
        self.class_cleaning = class_cleaning
        self.cleaning = cleaning
        self.confidence = confidence
        require_same_data([member.card for member in members])

    @property
    def card(self) -> ModelCard:
        """The card of the first model; channels and labels are those of all."""
        return self.members[0].card

    @property
    def place(self) -> Place:
        """Where the networks run; that of all is the same."""
        return self.members[0].place

    @property
    def settings(self) -> Settings:
        """What label maps depend on besides their images."""
        first, *others = (member.settings for member in self.members)
        update = {"others": tuple(others), "class_cleaning": self.class_cleaning, "cleaning": self.cleaning}
        return first.model_copy(update=update)

    def prepare(
        self,
        array: NDArray[Any],
        spacing: tuple[float, float, float],
        axes: str | None = None,
        *,
        overwrite: bool = False,
    ) -> tuple[Stages, ...]:
        """What each model sees of an image; arguments as those of ``LoadedModel.prepare``."""
        last = len(self.members) - 1
        return tuple(
            member.prepare(array, spacing, axes, overwrite=overwrite and number == last)
            for number, member in enumerate(self.members)
        )

    def needs(self, array: NDArray[Any], spacing: tuple[float, float, float], axes: str | None = None) -> Needs:
        """The memory that an image needs; arguments as those of ``prepare``.

        Raises:
            UserError: Not even the thinnest strips fit into memory.
        """
        count = len(self.members)
        every = [member.needs(array, spacing, axes, share=count) for member in self.members]
        together = reduce(Needs.beside, every)
        # A chunk of probabilities for each model, and their mean.
        numbers = min(_CHUNK_NUMBERS, self.card.dataset.num_classes * math.prod(array.shape[1:]))
        return replace(together, segmenting=together.segmenting + (count + 1) * _NUMBER_BYTES * numbers)

    def turn_of(self, prepared: Sequence[Stages]) -> Turn:
        """The turn from an image's own axes to those of its label map, which are those of the first model."""
        return self.members[0].turn_of(prepared[0])

    def is_small(self, prepared: Sequence[Stages]) -> bool:
        """Every image goes through the networks by itself."""
        return False

    def segment(
        self, prepared: Sequence[Stages], progress: Progress | None = None, probabilities: ProbabilityFile | None = None
    ) -> Segmentation:
        """The label map (z, y, x) along the axes of the first model's training images.

        Raises:
            UserError: Probabilities are asked for on the grid of a network, of which there are several.
        """
        if probabilities is not None and probabilities.on_model_grid:
            raise UserError(
                "Several models have no grid in common but that of the image.",
                found="--probability-grid model",
                remedy="Leave out --probability-grid, or predict with one model.",
            )
        dataset = self.card.dataset
        agreement = (
            Agreement(len(self.members), dataset.num_classes, regions=dataset.has_regions) if self.confidence else None
        )
        if self._in_step(prepared):
            label_map: NDArray[Any] = self._streamed(prepared, progress, probabilities, agreement)
        else:
            found = self._collected(prepared, progress, agreement)
            if probabilities is not None:
                self._write_whole(found, probabilities)
            found = self.turn_of(prepared).array(found)
            label_map = decide(found, label_numbers(len(found), region_values(self.card)), self.card)
        label_map = self._cleaned(label_map, prepared)
        return Segmentation(label_map, None if agreement is None else tuple(agreement.dice()))

    def segment_small(self, several: Sequence[Any]) -> list[Segmentation]:
        """The same of several images."""
        return [self.segment(prepared) for prepared in several]

    def finish(self, label_map: NDArray[Any], turn: Turn) -> NDArray[Any]:
        """What is made of ``label_map``: in an instance task its objects, cleaned; along the image's own axes."""
        if self.card.dataset.task == "instance":
            label_map = find_instances(label_map)
            label_map = label_map if self.cleaning is None else self.cleaning.apply(label_map)
        return turn.inverse.array(label_map)

    def probabilities(self, prepared: Sequence[Stages]) -> tuple[NDArray[Any], Probabilities]:
        """The finished label map, and the mean probabilities (classes, z, y, x), along the image's own axes.

        Raises:
            UserError: There is not enough memory for all classes of the whole image.
        """
        turn, found = self.turn_of(prepared), self._collected(prepared, None)
        label_map = decide(turn.array(found), label_numbers(len(found), region_values(self.card)), self.card)
        return self.finish(self._cleaned(label_map, prepared), turn), found

    def _cleaned(self, label_map: NDArray[Any], prepared: Sequence[Stages]) -> NDArray[Any]:
        if self.class_cleaning is None:
            return label_map
        spacing = prepared[0][-1].case.properties.spacing
        return self.class_cleaning.apply(label_map, self.card.dataset.foreground, spacing)

    def _in_step(self, prepared: Sequence[Stages]) -> bool:
        """Whether planes of all models are planes of the image along the same axis."""
        orders = {
            (member.card.plan.transpose_forward, stages[-1].turn, stages[-1].case.properties.bbox)
            for member, stages in zip(self.members, prepared, strict=True)
        }
        return len(orders) == 1

    def _streamed(
        self,
        prepared: Sequence[Stages],
        progress: Progress | None,
        probabilities: ProbabilityFile | None,
        agreement: Agreement | None,
    ) -> NDArray[Any]:
        """The label map, a few planes at a time."""
        properties, dataset = prepared[0][-1].case.properties, self.card.dataset
        numbers = label_numbers(dataset.num_classes, region_values(self.card))
        target = LabelTarget(properties, self.card.plan, numbers.dtype)

        def decided() -> Iterator[ProbabilityChunk]:
            for rows in self._row_ranges(prepared):
                for planes, each in self._chunks(prepared, rows, progress):
                    if agreement is not None:
                        _compare(agreement, [_decided(found, self.card) for found in each])
                    mean = np.asarray(sum(each) / np.float32(len(each)), dtype=np.float32)
                    target.crop[planes, rows] = decide(mean, numbers, self.card)
                    yield ProbabilityChunk(planes, rows, mean)
                target.missing[:, rows] = False

        if probabilities is not None:
            frame = Frame.of_image(properties, self.card.plan, self.turn_of(prepared), probabilities.geometry)
            probabilities.write_chunks(decided(), frame, self.card)
        else:
            deque(decided(), maxlen=0)
        return target.label_map()

    def _write_whole(self, found: Probabilities, probabilities: ProbabilityFile) -> None:
        depth, height, width = found.shape[1:]
        frame = Frame(probabilities.geometry, Turn(), (0, 1, 2), ((0, depth), (0, height), (0, width)))
        whole = ProbabilityChunk(slice(0, depth), slice(0, height), found)
        probabilities.write_chunks([whole], frame, self.card)

    def _row_ranges(self, prepared: Sequence[Stages]) -> list[slice]:
        """Rows of the image that are worked on together: as many as the strips of the most demanding model allow."""
        count = max(
            len(member.strips(stages, share=len(self.members)))
            for member, stages in zip(self.members, prepared, strict=True)
        )
        edges = np.linspace(0, prepared[0][-1].case.properties.shape_after_cropping[1], count + 1).astype(int)
        return [slice(int(start), int(stop)) for start, stop in itertools.pairwise(edges) if stop > start]

    def _chunks(
        self, prepared: Sequence[Stages], rows: slice, progress: Progress | None
    ) -> Iterator[tuple[slice, list[Probabilities]]]:
        """The probabilities (outputs, planes, rows, x) of each model in these rows, a few planes at a time."""
        dataset = self.card.dataset
        width = prepared[0][-1].case.properties.shape_after_cropping[2]
        planes = max(1, _CHUNK_NUMBERS // (dataset.num_classes * (rows.stop - rows.start) * width))
        streams, parts = [], []
        for number, (member, stages) in enumerate(zip(self.members, prepared, strict=True)):
            grid = OutputGrid.of(stages[-1].case.properties, member.card.configuration)
            strip = Strip(int(grid.y.low[rows].min()), int(grid.y.high[rows].max()) + 1)
            slabs = member.slabs(stages, _share(progress, number, len(self.members)), [strip])
            streams.append(probability_chunks(slabs, grid, regions=dataset.has_regions, planes=planes))
            first = grid.y.span(strip.start, strip.stop).start
            parts.append(slice(rows.start - first, rows.stop - first))
        for chunks in zip(*streams, strict=True):
            yield chunks[0].planes, [chunk.values[:, :, part] for chunk, part in zip(chunks, parts, strict=True)]

    def _collected(
        self, prepared: Sequence[Stages], progress: Progress | None, agreement: Agreement | None = None
    ) -> Probabilities:
        """The mean probabilities (classes, z, y, x) along the image's own axes, all in memory."""
        outputs, shape = self.card.dataset.num_classes, prepared[0][-1].case.properties.shape_before_cropping
        require_memory(
            2 * 4 * outputs * int(np.prod(shape)),
            "Averaging probabilities",
            found=f"{by(shape)} voxels, {outputs} classes, models with different axes",
            remedy="Predict together with models of one data set, or where there is more memory.",
        )
        total: Probabilities | None = None
        maps = []
        for number, (member, stages) in enumerate(zip(self.members, prepared, strict=True)):
            found = collect_probabilities(
                member.slabs(stages, _share(progress, number, len(self.members))),
                outputs,
                stages[-1].case.properties,
                member.card.plan,
                member.card.configuration,
                regions=self.card.dataset.has_regions,
            )
            found = stages[-1].turn.inverse.array(found)
            if agreement is not None:
                maps.append(_decided(found, self.card))
            total = found if total is None else np.add(total, found, out=total)
        assert total is not None
        if agreement is not None:
            _compare(agreement, maps)
        total /= np.float32(len(self.members))
        return total


def decide(probabilities: Probabilities, numbers: NDArray[Any], card: ModelCard) -> NDArray[Any]:
    """The label of each voxel: the most probable class, or the value of the last region that is likely.

    Args:
        probabilities: (outputs, planes, rows, x).
        numbers: The label of each output; with regions those of background and then of each output.
        card: Card of a model.
    """
    if not card.dataset.has_regions:
        label_map: NDArray[Any] = numbers[probabilities.argmax(axis=0)]
        return label_map
    label_map = np.zeros(probabilities.shape[1:], dtype=numbers.dtype)
    for number, region in zip(numbers[1:], probabilities, strict=True):
        label_map[region > 0.5] = number
    return label_map


def _decided(probabilities: Probabilities, card: ModelCard) -> NDArray[Any]:
    """What one model says: the most probable output of each voxel (z, y, x); or which regions are likely there.

    Plane by plane, because the search for the largest gives numbers of 8 bytes.
    """
    if card.dataset.has_regions:
        likely: NDArray[Any] = probabilities > 0.5
        return likely
    found = np.empty(probabilities.shape[1:], np.uint16)
    for number, plane in enumerate(np.moveaxis(probabilities, 1, 0)):
        found[number] = plane.argmax(axis=0)
    return found


def _compare(agreement: Agreement, maps: Sequence[NDArray[Any]]) -> None:
    """Count what the maps (..., planes, rows, x) of all models have in common, plane by plane."""
    for plane in range(maps[0].shape[-3]):
        agreement.add_maps([found[..., plane, :, :] for found in maps])


def _share(progress: Progress | None, number: int, count: int) -> Callable[[int, int], None] | None:
    """The progress of one of several models, of which the last is told: all go on in step."""
    return progress if number == count - 1 else None
