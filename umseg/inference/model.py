"""A model folder, loaded: its networks, and the way of an image through them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.memory import available_memory
from umseg.common.text import counted
from umseg.dataset.check.digest import digest_of_record
from umseg.dataset.instances import find_instances
from umseg.dataset.io.orientation import Turn
from umseg.inference.confidence import Agreement
from umseg.inference.export.probabilities import collect_probabilities
from umseg.inference.needs import LATER, Needs
from umseg.inference.options import LoadOptions
from umseg.inference.outputs.probabilities import ProbabilityFile
from umseg.inference.pipeline.record import Settings
from umseg.inference.postprocessing.classes import ClassCleaning
from umseg.inference.runtimes.source import find_source, resolve_place
from umseg.inference.segmentation import Networks, segment_case
from umseg.inference.segmenter import Place, Segmentation
from umseg.inference.step import check_step
from umseg.inference.weights import loaded_message
from umseg.inference.windows.batches import batch_size
from umseg.inference.windows.slab import Slab, Strip
from umseg.inference.windows.small import predict_small
from umseg.inference.windows.strips import apart
from umseg.inference.windows.window import SlidingWindow
from umseg.models.device import precision_name
from umseg.preprocess.cascade_input import fit_label_map, one_hot
from umseg.preprocess.case import CaseProperties, PreprocessedCase
from umseg.preprocess.finite import all_finite
from umseg.preprocess.foresight import foreseen_properties, preprocessed_bytes, preprocessing_bytes
from umseg.preprocess.preprocess import preprocess_case

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""A function that is told how many windows of an image are done, and how many there are."""


@dataclass(frozen=True)
class Prepared:
    """An image as the network of one stage sees it.

    Attributes:
        case: The preprocessed image.
        turn: The turn from the image's axes to those of the training images.
    """

    case: PreprocessedCase
    turn: Turn


Stages = tuple[Prepared, ...]
"""The preprocessed image for each stage of a cascade, the first stage first; one entry without a cascade."""


_NUMBER_BYTES = 8
"""Bytes of a voxel whose object is numbered: its number, and the mask of what is numbered with its workspace."""
SMALL_BYTES = 2**22
"""Most bytes of a preprocessed picture that goes through the network with others: one megapixel of one channel."""


class LoadedModel:
    """The networks of a model folder on a device, with everything that brings images to them and labels back.

    Args:
        folder: ``.../models/<model>__<configuration>``, an ONNX file, or a folder of ONNX files.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        options: The options.
        class_cleaning: How label maps of classes are cleaned; None leaves them as they are.

    Raises:
        UserError: The model is incomplete, or the device is missing.
    """

    def __init__(
        self,
        folder: Path,
        device: str = "auto",
        options: LoadOptions | None = None,
        class_cleaning: ClassCleaning | None = None,
    ) -> None:
        options = options or LoadOptions()
        check_step(options.step)
        self._source = source = find_source(Path(folder), options.folds, options.weights, options.runtime)
        self.card = source.card
        self.device, self.precision = resolve_place(source.runtime, device, options.precision)
        self.configuration = self.card.configuration
        self.window = SlidingWindow(
            patch=self.configuration.patch_size,
            step=options.step,
            mirror_axes=self.card.mirror_axes if options.mirror else (),
            most_bytes=options.most_bytes,
            skip_empty=options.skip_empty,
            separate=options.confidence,
        )
        if options.mirror and not self.card.mirror_axes:
            log.warning("--mirror has no effect: this model was trained without mirroring.")
        self.networks = source.networks(self.device)
        self._run = Networks(
            self.networks,
            self.card,
            self.window,
            self.device,
            self.precision,
            available_memory() - LATER,
            batch_size(self.window, self.device),
        )
        self.first_stage: LoadedModel | None = None
        if source.first_stage is not None:
            # The same folds, because they were trained without the same cases.
            folds = None if source.folds == ["all"] else source.folds
            first_options = replace(options, folds=folds, postprocessing=True, confidence=False)
            self.first_stage = LoadedModel(source.first_stage, device, first_options)
        log.info(loaded_message(Path(folder), source.folds, self.device, source.runtime))
        cleaned = options.postprocessing and self.card.dataset.task == "instance"
        self.cleaning = source.cleaning() if cleaned else None
        self.class_cleaning = class_cleaning

    @property
    def place(self) -> Place:
        """Where the networks run, and in which number format."""
        return Place(str(self.device), precision_name(self.precision))

    @property
    def settings(self) -> Settings:
        """What label maps of this predictor depend on besides their images; reads the weights' files."""
        return Settings(
            card=digest_of_record(self.card),
            weights=self._source.digests(),
            step=self.window.step,
            mirror_axes=self.window.mirror_axes,
            precision=str(self.precision) if self._source.runtime == "torch" else "onnxruntime.float32",
            first_stage=None if self.first_stage is None else self.first_stage.settings,
            cleaning=self.cleaning,
            class_cleaning=self.class_cleaning,
            skip_empty=self.window.skip_empty,
        )

    def prepare(
        self,
        array: NDArray[Any],
        spacing: tuple[float, float, float],
        axes: str | None = None,
        *,
        overwrite: bool = False,
    ) -> Stages:
        """The preprocessed image for each stage.

        Args:
            array: (channels, z, y, x).
            spacing: mm per voxel along z, y, x.
            axes: Orientation of the array; None if it is not known.
            overwrite: Whether the memory of the array may be used, whose values are then lost.

        Raises:
            UserError: The array does not have the model's channels, a value is not finite, or the spacing is wrong.
        """
        self._check(array, spacing)
        if not all_finite(array):
            raise UserError(
                "The image contains values that are not finite (NaN or infinity).",
                remedy="Replace them, for example by the value of air or background.",
            )
        earlier = () if self.first_stage is None else self.first_stage.prepare(array, spacing, axes)
        turn = Turn.between(axes, self.card.orientation)
        case = preprocess_case(
            turn.view(array), turn.spacing(spacing), self.card.plan, self.configuration, overwrite=overwrite
        )
        return (*earlier, Prepared(case, turn))

    def _check(self, array: NDArray[Any], spacing: tuple[float, float, float]) -> None:
        expected = self.card.dataset.channel_names
        if array.ndim != 4 or array.shape[0] != len(expected):
            raise UserError(
                "The image does not have the channels that the model was trained with.",
                found=f"an array of shape {array.shape}" if array.ndim != 4 else counted(array.shape[0], "channel"),
                expected=counted(len(expected), "channel") + ": " + ", ".join(expected.values()),
                remedy="Give all channels of each case, in the order of training.",
            )
        if array.dtype.kind not in "biuf" or not array.size:
            raise UserError(
                "The image is not an array of real numbers.",
                found=f"type {array.dtype}, shape {array.shape}",
                expected="integers or floating-point numbers, and at least one voxel",
                remedy="Give the intensities themselves; of complex images, for example their magnitude.",
            )
        # Types are not checked at run time.
        if len(spacing) != 3 or not all(0 < size < math.inf for size in spacing):  # type: ignore[redundant-expr]
            raise UserError(
                "The spacing is not valid.",
                found=spacing,
                expected="three positive numbers: the size of a voxel along z, y and x in mm",
                remedy="Give the spacing of the image's header in the order z, y, x (most headers have x, y, z).",
            )

    def needs(
        self, array: NDArray[Any], spacing: tuple[float, float, float], axes: str | None = None, share: int = 1
    ) -> Needs:
        """The memory that an image needs; arguments as those of ``prepare``.

        Args:
            array: (channels, z, y, x).
            spacing: mm per voxel along z, y, x.
            axes: Orientation of the array; None if it is not known.
            share: Number of models among which the memory is divided.

        Raises:
            UserError: The array does not have the model's channels, the spacing is wrong, or not even the thinnest
                strips fit into memory.
        """
        self._check(array, spacing)
        turn, configuration = Turn.between(axes, self.card.orientation), self.configuration
        properties = foreseen_properties(turn.view(array), turn.spacing(spacing), self.card.plan, configuration)
        memory = self._run.memory(properties, self._run.strips(properties, share, foreseen=True))
        prepared = preprocessed_bytes(properties, len(array))
        # A label map that is cleaned is first numbered object by object, in 32 bits.
        voxels = math.prod(properties.shape_before_cropping)
        numbered = self.class_cleaning is not None or self.card.dataset.task == "instance"
        own = Needs(
            preparing=preprocessing_bytes(properties, configuration),
            prepared=prepared,
            segmenting=max(memory.host, _NUMBER_BYTES * voxels if numbered else 0),
            label_map=memory.label_map,
            on_gpu=memory.on_gpu,
        )
        if self.first_stage is None:
            return own
        # The second stage sees a copy of the image with the channels of the first.
        joined = preprocessed_bytes(properties, configuration.input_channels(self.card.dataset))
        return self.first_stage.needs(array, spacing, axes).before(own, joined)

    def segment(
        self, stages: Stages, progress: Progress | None = None, probabilities: ProbabilityFile | None = None
    ) -> Segmentation:
        """The classes that the networks see, along the axes of the training images, and how far they agree."""
        properties, turn = stages[-1].case.properties, self.turn_of(stages)
        agreement, consume = self._agreement(), None
        if probabilities is not None:
            consume = partial(probabilities.write, properties=properties, turn=turn, card=self.card)
        data = self._network_input(stages, progress)
        label_map = segment_case(self._run, data, properties, progress, agreement, consume)
        label_map = self._cleaned(label_map, properties)
        return Segmentation(label_map, None if agreement is None else tuple(agreement.dice()))

    def segment_small(self, several: Sequence[Stages]) -> list[Segmentation]:
        """The same of several images that are small (``is_small``), whose windows share batches."""
        if self._agreement() is not None:
            return [self.segment(stages) for stages in several]
        cases = [stages[-1].case for stages in several]
        images = (torch.from_numpy(case.data) for case in cases)
        classes, run = self.card.dataset.num_classes, self._run
        slabs = predict_small(run.networks, images, classes, run.window, run.device, run.precision, batch=run.batch)
        found = []
        for slab, case in zip(slabs, cases, strict=True):
            export = run.export(case.properties)
            export.add(slab)
            found.append(Segmentation(self._cleaned(export.label_map(), case.properties)))
        return found

    @property
    def states_confidence(self) -> bool:
        """Whether ``segment`` states a confidence: it was asked for, and there are predictions to compare."""
        return self._agreement() is not None

    def _agreement(self) -> Agreement | None:
        """A count of what the networks agree on, or the flips of a single one; None where it was not asked for."""
        window = self.window
        count = apart(window, len(self.networks))
        if not window.separate or count < 2:
            return None
        return Agreement(count, self.card.dataset.num_classes, regions=self.card.dataset.has_regions)

    def slabs(
        self, stages: Stages, progress: Progress | None = None, strips: Sequence[Strip] | None = None
    ) -> Iterator[Slab]:
        """The sums of logits of an image, slab by slab; for strips of its own choice, or for those that fit."""
        data = self._network_input(stages, progress)
        return self._run.slabs(data, strips or self.strips(stages), progress)

    def finished(self, stages: Stages, progress: Progress | None = None) -> NDArray[Any]:
        """The label map along the image's own axes: ``segment`` and then ``finish``."""
        return self.finish(self.segment(stages, progress).label_map, self.turn_of(stages))

    def finish(self, label_map: NDArray[Any], turn: Turn) -> NDArray[Any]:
        """What is made of ``label_map``: in an instance task its objects; cleaned, along the image's own axes.

        Args:
            label_map: (z, y, x), along the axes of the training images.
            turn: The turn from the image's axes to these.
        """
        if self.card.dataset.task == "instance":
            label_map = find_instances(label_map)
        return turn.inverse.array(label_map if self.cleaning is None else self.cleaning.apply(label_map))

    def probabilities(self, stages: Stages) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The label map (z, y, x), and the probability of every class or region (classes, z, y, x).

        Both lie along the image's own axes; the label map is that of ``segment``.

        Raises:
            UserError: There is not enough memory for all classes of the whole image.
        """
        properties, turn = stages[-1].case.properties, self.turn_of(stages)
        export, dataset = self._run.export(properties), self.card.dataset
        probabilities = collect_probabilities(
            export.passing(self.slabs(stages)),
            dataset.num_classes,
            properties,
            self.card.plan,
            self.configuration,
            regions=dataset.has_regions,
        )
        label_map = self._cleaned(export.label_map(), properties)
        return self.finish(label_map, turn), turn.inverse.array(probabilities)

    def turn_of(self, stages: Stages) -> Turn:
        """The turn from an image's own axes to those of the training images."""
        return stages[-1].turn

    def is_small(self, stages: Stages) -> bool:
        """Whether an image may go through the networks together with others: one slice for a 2-D network."""
        data = stages[-1].case.data
        flat = self.configuration.dimensions == 2 and self.first_stage is None
        return flat and data.shape[1] == 1 and data.nbytes <= SMALL_BYTES

    def strips(self, stages: Stages, share: int = 1) -> list[Strip]:
        """The strips in which an image is worked on, if ``share`` models divide the memory among themselves.

        Raises:
            UserError: Not even the thinnest strips fit into memory.
        """
        return self._run.strips(stages[-1].case.properties, share)

    def _cleaned(self, label_map: NDArray[Any], properties: CaseProperties) -> NDArray[Any]:
        if self.class_cleaning is None:
            return label_map
        return self.class_cleaning.apply(label_map, self.card.dataset.foreground, properties.spacing)

    def _network_input(self, stages: Stages, progress: Progress | None) -> NDArray[np.float32]:
        """The image with the channels of a cascade's first stage."""
        case, turn = stages[-1].case, stages[-1].turn
        if self.first_stage is None:
            return case.data
        label = turn.array(self.first_stage.finished(stages[:-1], progress))
        fitted = fit_label_map(label, case.properties, self.card.plan, self.configuration)
        return np.concatenate([case.data, one_hot(fitted, self.card.dataset.foreground_values)])
