"""``Predictor``: a model folder, loaded once, that segments arrays and files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.files import plain_path, remove_leftovers
from umseg.common.processes.claims import claim
from umseg.common.text import counted, few
from umseg.dataset.check.digest import digest_of_record
from umseg.dataset.check.problems import Problem
from umseg.dataset.check.report import report_problems
from umseg.dataset.dataset import Case, survey_cases
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import read_image
from umseg.dataset.io.orientation import stored_axes
from umseg.inference.bundle.location import local_model
from umseg.inference.model import LoadedModel, Stages
from umseg.inference.pipeline.cases import Outcome, Progress, Steps, segment_cases
from umseg.inference.pipeline.failures import FailedCasesError, problem_of
from umseg.inference.pipeline.output_place import refuse_place, refuse_replacing_inputs
from umseg.inference.pipeline.record import RECORD, PredictionRecord
from umseg.models.card import ModelCard

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Read:
    """A case that was read: the grid of its file, the orientation in which it is stored, and what the networks see."""

    geometry: Geometry
    axes: str | None
    stages: Stages


class Predictor:
    """Segments images with a trained model.

    Args:
        model_folder: ``.../models/<model>__<configuration>``, the file of a bundle, or ``hf://organisation/name``.
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
        model_folder: str | PathLike[str],
        device: str = "auto",
        *,
        folds: Sequence[str] | None = None,
        weights: str = "final",
        mirror: bool = False,
        step: float = 0.5,
        precision: str = "auto",
        postprocessing: bool = True,
        runtime: str = "auto",
    ) -> None:
        self.model = LoadedModel(
            local_model(model_folder),
            device,
            folds=folds,
            weights=weights,
            mirror=mirror,
            step=step,
            precision=precision,
            postprocessing=postprocessing,
        )

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.model.card

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
        return self.model.segment(self.model.prepare(array, spacing))

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
            settings = digest_of_record(self.model.settings)
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
            stages = self.model.prepare(image.array, image.spacing, axes, overwrite=True)
            return _Read(image.geometry, axes, stages)
        except UserError as error:
            raise error.at(case.images[0]) from error

    def _segment_read(self, read: _Read, progress: Progress) -> NDArray[Any]:
        return self.model.segment(read.stages, progress)


def _note_turn(turned: dict[str, str], outcome: Outcome[_Read]) -> None:
    """Add the orientation of an image that was turned."""
    read = outcome.prepared
    if read is not None and read.axes is not None and read.stages[-1].turn:
        turned[outcome.case.id] = read.axes
