"""``Predictor``: a model folder, loaded once, that segments arrays and files."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from umseg.common.errors import UserError
from umseg.common.files import plain_path, remove_leftovers
from umseg.common.processes.claims import claim
from umseg.common.text import counted, few
from umseg.dataset.check.digest import digest_of_file, digest_of_record
from umseg.dataset.check.problems import Problem
from umseg.dataset.check.report import report_problems
from umseg.dataset.dataset import Case, survey_cases
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import read_image
from umseg.dataset.io.orientation import Turn, stored_axes
from umseg.inference.pipeline.cases import Outcome, Progress, Steps, segment_cases
from umseg.inference.pipeline.failures import FailedCasesError, problem_of
from umseg.inference.pipeline.output_place import refuse_place, refuse_replacing_inputs
from umseg.inference.pipeline.record import RECORD, PredictionRecord, Settings
from umseg.inference.postprocessing.instances import find_cleaning
from umseg.inference.segmentation import segment_case
from umseg.inference.weights import WEIGHTS_REMEDY, find_weights, loaded_message
from umseg.inference.windows.sliding_window import SlidingWindow
from umseg.models.card import first_stage_folder, load_card
from umseg.models.device import place, resolve_device, resolve_precision
from umseg.preprocess.cascade_input import fit_label_map, one_hot
from umseg.preprocess.case import PreprocessedCase
from umseg.preprocess.instances import find_instances
from umseg.preprocess.preprocess import preprocess_case
from umseg.training.saved import checkpoint
from umseg.workspace import FoldFolder

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class _Read:
    """A case that was read: the grid of its file, the orientation in which it is stored, and what the networks see."""

    geometry: Geometry
    axes: str | None
    stages: Stages


SMALLEST_STEP = 0.05
"""Smallest distance of neighbouring patches as a fraction of the patch: 8,000 windows cover each voxel of a volume."""


class Predictor:
    """Segments images with a trained model.

    Args:
        model_folder: ``.../models/<model>__<configuration>``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        folds: Folds whose logits are averaged, e.g. ``("0", "1")`` or ``("all",)``; None: all trained folds.
        weights: ``final`` or ``best`` (highest moving average of the validation Dice).
        mirror: Whether predictions are averaged over all flips of the mirrored axes, which takes 2 to the number of
            axes times as long. The paper does not do it.
        step: Distance of neighbouring patches as a fraction of the patch, from 0.05 to 1.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        postprocessing: Whether small objects are removed and holes are filled as the validation of the folds chose it;
            only in an instance task.

    Raises:
        UserError: The model folder is incomplete, or the device is missing.
    """

    def __init__(
        self,
        model_folder: Path,
        device: str = "auto",
        *,
        folds: Sequence[str] | None = None,
        weights: str = "final",
        mirror: bool = False,
        step: float = 0.5,
        precision: str = "auto",
        postprocessing: bool = True,
    ) -> None:
        if not SMALLEST_STEP <= step <= 1:
            raise UserError(
                "The step is not a valid fraction of the patch.",
                found=step,
                expected=f"from {SMALLEST_STEP} to 1",
                remedy="Correct --step; the default is 0.5.",
            )
        self.card = load_card(model_folder)
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.configuration = self.card.configuration
        self.window = SlidingWindow(
            patch=self.configuration.patch_size,
            batch_size=self.configuration.batch_size,
            step=step,
            mirror_axes=self.card.mirror_axes if mirror else (),
        )
        if mirror and not self.card.mirror_axes:
            log.warning("--mirror has no effect: this model was trained without mirroring.")
        self._files = files = find_weights(Path(model_folder), folds, weights)
        self.networks = [self._load(file) for file in files]
        self.first_stage: Predictor | None = None
        first = first_stage_folder(Path(model_folder), self.card)
        if first is not None:
            # The same folds, because they were trained without the same cases.
            same = [FoldFolder(file.parent).name for file in files]
            self.first_stage = Predictor(
                first,
                device,
                folds=None if same == ["all"] else same,
                weights=weights,
                mirror=mirror,
                step=step,
                precision=precision,
            )
        log.info(loaded_message(Path(model_folder), files, self.device))
        cleaned = postprocessing and self.card.dataset.task == "instance"
        self.cleaning = find_cleaning([FoldFolder(file.parent) for file in files]) if cleaned else None

    def predict(self, array: NDArray[np.floating[Any]], spacing: tuple[float, float, float]) -> NDArray[Any]:
        """Segment one image.

        Args:
            array: (channels, z, y, x); a 2-D image is (channels, 1, y, x).
            spacing: mm per voxel along z, y, x.

        The orientation of an array is not known: its axes must point where those of the training images do
        (``card.orientation``, in the order x, y, z).

        Returns:
            (z, y, x) label map on the voxels of the image: values of classes; with regions the values of
            ``regions_class_order``; in an instance task numbers of objects.

        Raises:
            UserError: The image does not have as many channels as the model, a value is not finite, or the spacing is
                not positive.
        """
        return self._segment(self._prepare(array, spacing))

    def predict_files(
        self,
        inputs: Path | Sequence[Path],
        output: Path,
        *,
        quiet: bool = False,
        resume: bool = False,
        overwrite: bool = False,
    ) -> list[Path]:
        """Segment image files, or every image of folders.

        A case that cannot be segmented does not stop the others. The output folder gets the label maps ``CASE.ext``, a
        ``dataset.json`` that names their labels, and ``predictions.jsonl``, which records what was written. Label maps
        of an earlier run are replaced; other files are not, unless ``overwrite`` is set.

        Args:
            inputs: Files, folders of ``CASE_0000.ext`` (one file per channel), or patterns; one or several.
            output: Folder for predictions alone.
            quiet: Whether to show no progress bars.
            resume: Whether label maps are kept that this model made with these options of the same images.
            overwrite: Whether files are replaced that umseg did not write, or that were changed since.

        Returns:
            The files of the label maps of all cases, those that were kept among them.

        Raises:
            FailedCasesError: Some cases could not be segmented; its ``problems`` say why, its ``written`` are the files
                of the others.
            UserError: There is no input, or the output folder is not one for predictions or cannot be written.
        """
        named = [Path(path) for path in ([inputs] if isinstance(inputs, str | PathLike) else inputs)]
        description = self.card.dataset
        cases, problems = survey_cases(named, description.num_channels, description.file_ending)
        if not cases:
            report_problems(problems, named[0].absolute())
        output = plain_path(output)
        refuse_place(output, named, cases)
        targets = [self.target(case, output) for case in cases]
        refuse_replacing_inputs(cases, [*targets, output / "dataset.json", output / RECORD])
        with claim(output, "predicts into this folder"):
            remove_leftovers(output)
            record = PredictionRecord(output)
            settings = digest_of_record(self.settings)
            kept = {
                case.id
                for case, path in zip(cases, targets, strict=True)
                if resume and record.is_complete(path, settings, case)
            }
            if kept:
                log.info("Keeping %s that this model made of these images.", counted(len(kept), "label map"))
            to_do = [case for case in cases if case.id not in kept]
            if not overwrite:
                record.refuse_others([self.target(case, output) for case in to_do])
                record.refuse_other_text(output / "dataset.json", description.to_json())
            record.compact()
            with record.writing(output / "dataset.json"):
                description.save(output / "dataset.json")
            failed = self._predict_recorded(to_do, output, record, settings, quiet)
        if problems or failed:
            missing = {problem.case for problem in failed}
            written = [path for case, path in zip(cases, targets, strict=True) if case.id not in missing]
            raise FailedCasesError([*problems, *failed], written, output)
        return targets

    def predict_cases(self, cases: Sequence[Case], output: Path, *, quiet: bool = False) -> list[Path]:
        """Segment the given cases into a folder that umseg keeps for itself, such as that of a fold's validation.

        Earlier label maps are replaced, and nothing is recorded.

        Raises:
            UserError: A case cannot be segmented. Label maps that were written before are kept.
        """
        output = plain_path(output)
        targets = [self.target(case, output) for case in cases]
        refuse_replacing_inputs(cases, [*targets, output / "dataset.json"])
        self.card.dataset.save(output / "dataset.json")
        turned: dict[str, str] = {}
        for outcome in segment_cases(cases, targets, self._steps(lambda case, path: nullcontext()), quiet):
            if outcome.error is not None:
                raise outcome.error
            _note_turn(turned, outcome)
        self._tell_turned(turned)
        return targets

    def target(self, case: Case, output: Path) -> Path:
        """The file of a case's label map in an output folder."""
        return output / f"{case.id}{case.label_ending(self.card.dataset.file_ending)}"

    @property
    def settings(self) -> Settings:
        """What label maps of this predictor depend on besides their images; reads the weights' files."""
        return Settings(
            card=digest_of_record(self.card),
            weights={FoldFolder(file.parent).name: digest_of_file(file) for file in self._files},
            step=self.window.step,
            mirror_axes=self.window.mirror_axes,
            precision=str(self.precision),
            first_stage=None if self.first_stage is None else self.first_stage.settings,
            cleaning=self.cleaning,
        )

    def _predict_recorded(
        self, cases: Sequence[Case], output: Path, record: PredictionRecord, settings: str, quiet: bool
    ) -> list[Problem]:
        """Segment cases, and record each of them; returns what is wrong with those that failed."""

        def writing(case: Case, path: Path) -> AbstractContextManager[None]:
            return record.writing(path, settings, case)

        failed: list[Problem] = []
        turned: dict[str, str] = {}
        done = 0
        try:
            targets = [self.target(case, output) for case in cases]
            for outcome in segment_cases(cases, targets, self._steps(writing), quiet):
                if outcome.error is not None:
                    failed.append(problem_of(outcome.case, outcome.error))
                    continue
                done += 1
                _note_turn(turned, outcome)
        except KeyboardInterrupt:
            log.warning(
                "Stopped: %d of %d label maps are written to %s. The same command with --resume writes the others.",
                done,
                len(cases),
                output,
            )
            raise
        self._tell_turned(turned)
        return failed

    def _steps(self, writing: Callable[[Case, Path], AbstractContextManager[None]]) -> Steps[_Read]:
        return Steps(self._read, lambda read: read.geometry, self._segment_read, writing)

    def _tell_turned(self, turned: Mapping[str, str]) -> None:
        if turned:
            log.warning(
                "%s turned to %s, the orientation of the training images, and %s back: %s.",
                f"{counted(len(turned), 'image')} {'was' if len(turned) == 1 else 'were'}",
                self.card.orientation,
                "its label map" if len(turned) == 1 else "their label maps",
                few(f"{case} ({axes})" for case, axes in turned.items()),
            )

    def _read(self, case: Case) -> _Read:
        image = read_image(case.images, self.card.dataset.num_channels)
        for notice in image.notices:
            log.warning("%s", notice)
        axes = stored_axes(case.images[0], image.geometry)
        try:
            return _Read(image.geometry, axes, self._prepare(image.array, image.spacing, axes))
        except UserError as error:
            raise error.at(case.images[0]) from error

    def _segment_read(self, read: _Read, progress: Progress) -> NDArray[Any]:
        return self._segment(read.stages, progress)

    def _prepare(self, array: NDArray[Any], spacing: tuple[float, float, float], axes: str | None = None) -> Stages:
        """The preprocessed image for each stage; ``axes`` is the orientation of the array, if it is known."""
        expected = self.card.dataset.channel_names
        if array.ndim != 4 or array.shape[0] != len(expected):
            raise UserError(
                "The image does not have the channels that the model was trained with.",
                found=f"an array of shape {array.shape}" if array.ndim != 4 else counted(array.shape[0], "channel"),
                expected=counted(len(expected), "channel") + ": " + ", ".join(expected.values()),
                remedy="Give all channels of each case, in the order of training.",
            )
        # Types are not checked at run time.
        if len(spacing) != 3 or not all(0 < size < math.inf for size in spacing):  # type: ignore[redundant-expr]
            raise UserError(
                "The spacing is not valid.",
                found=spacing,
                expected="three positive numbers: the size of a voxel along z, y and x in mm",
                remedy="Give the spacing of the image's header in the order z, y, x (most headers have x, y, z).",
            )
        if not np.isfinite(array).all():
            raise UserError(
                "The image contains values that are not finite (NaN or infinity).",
                remedy="Replace them, for example by the value of air or background.",
            )
        earlier = () if self.first_stage is None else self.first_stage._prepare(array, spacing, axes)
        turn = Turn.between(axes, self.card.orientation)
        case = preprocess_case(turn.array(array), turn.spacing(spacing), self.card.plan, self.configuration)
        return (*earlier, Prepared(case, turn))

    def _segment(self, stages: Stages, progress: Progress | None = None) -> NDArray[Any]:
        """The label map along the image's own axes."""
        dataset, case, turn = self.card.dataset, stages[-1].case, stages[-1].turn
        data = case.data
        if self.first_stage is not None:
            label = turn.array(self.first_stage._segment(stages[:-1], progress))
            fitted = fit_label_map(label, case.properties, self.card.plan, self.configuration)
            data = np.concatenate([data, one_hot(fitted, dataset.foreground_values)])
        label_map: NDArray[Any] = segment_case(
            self.networks, data, case.properties, self.card, self.window, self.device, self.precision, progress
        )
        if dataset.task == "instance":
            label_map = find_instances(label_map)
        return turn.inverse.array(label_map if self.cleaning is None else self.cleaning.apply(label_map))

    def _load(self, file: Path) -> nn.Module:
        network = self.card.build_network()
        checkpoint.load_weights(network, file, WEIGHTS_REMEDY)
        return place(network, self.device).eval()


def _note_turn(turned: dict[str, str], outcome: Outcome[_Read]) -> None:
    """Add the orientation of an image that was turned."""
    read = outcome.prepared
    if read is not None and read.axes is not None and read.stages[-1].turn:
        turned[outcome.case.id] = read.axes
