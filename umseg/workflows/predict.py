"""What ``umseg predict`` writes of every case besides its label map, and what is told of the whole run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import umseg
from umseg.common.errors import UserError
from umseg.inference import Predictor
from umseg.inference.outputs.case_output import CaseOutput
from umseg.inference.outputs.class_choice import choose_classes
from umseg.inference.outputs.formats import Formats
from umseg.inference.outputs.probability_choice import ProbabilityChoice
from umseg.inference.outputs.statistics import StatisticsOutput, statistics_file
from umseg.inference.outputs.statistics_records import CaseStatistics
from umseg.inference.outputs.statistics_tables import gather_statistics
from umseg.inference.outputs.summary import CaseSummary, Failure, FoundClass, RunSummary, Setting, found_classes
from umseg.inference.pipeline.files import CaseResult, FileRequest, FileResult
from umseg.inference.pipeline.folder import common_files
from umseg.inference.pipeline.products import Products
from umseg.reports.preview.output import PreviewOutput

_REMEDY = "Remove the file; the same command makes it again."


@dataclass(frozen=True)
class Wanted:
    """What a user wants of every case.

    Attributes:
        formats: The formats of label maps, and DICOM objects.
        classes: The only classes that are kept, as in ``liver,spleen``; None keeps all.
        statistics: Whether volumes, places and intensities are measured.
        preview: Whether a picture is drawn.
        probabilities: Which files of probabilities are written; None: none.
    """

    formats: Formats = field(default_factory=Formats)
    classes: str | None = None
    statistics: bool = False
    preview: bool = False
    probabilities: ProbabilityChoice | None = None

    def products(self, predictor: Predictor) -> Products:
        """What is written of each case.

        Raises:
            UserError: The model does not have a class that is named.
        """
        card = predictor.card
        choice = choose_classes(self.classes, card.dataset) if self.classes is not None else None
        names = None if choice is None else choice.names
        outputs: list[CaseOutput] = [*self.formats.outputs(f"{card.model} {card.configuration_name}")]
        outputs += [StatisticsOutput(names)] if self.statistics else []
        outputs += [PreviewOutput(names)] if self.preview else []
        return predictor.products(outputs, choice, self.formats.label_ending, self.probabilities)


def predict_files(predictor: Predictor, request: FileRequest, wanted: Wanted) -> FileResult:
    """Segment files, and gather the tables of the statistics, also where some cases fail.

    Args:
        predictor: The model.
        request: What is asked for; its products are those of ``wanted``.
        wanted: What is written of every case.

    Raises:
        FailedCasesError: Some cases could not be segmented.
        UserError: There is no input, or the output folder cannot be written.
    """
    request = replace(request, products=wanted.products(predictor))
    try:
        return predictor.segment_files(request)
    finally:
        if wanted.statistics and Path(request.output).is_dir():
            gather_statistics(Path(request.output))


def summarise_run(
    predictor: Predictor,
    request: FileRequest,
    wanted: Wanted,
    cases: Sequence[CaseResult],
    *,
    models: Sequence[str],
    settings: Mapping[str, Setting],
    began: float,
) -> RunSummary:
    """What a run did, for programs.

    Args:
        predictor: The model.
        request: What was asked for.
        wanted: What was written of every case.
        cases: What became of each case.
        models: The models, as the user named them.
        settings: Options by their names.
        began: ``time.perf_counter()`` at the start.
    """
    output = Path(request.output)
    tables = ["statistics.json", "statistics.csv"] if wanted.statistics else []
    names = [*common_files(predictor.card.dataset), "predictions.jsonl", "failures.json", *tables]
    place = predictor.place
    return RunSummary(
        umseg_version=umseg.__version__,
        models=tuple(models),
        device=place.device,
        precision=place.precision,
        inputs=tuple(map(str, request.inputs)),
        output=str(output),
        settings=dict(settings),
        seconds=time.perf_counter() - began,
        files=tuple(str(output / name) for name in names if (output / name).is_file()),
        cases=tuple(_summary(case, wanted) for case in cases),
    )


def _summary(case: CaseResult, wanted: Wanted) -> CaseSummary:
    job = case.job
    return CaseSummary(
        case=case.name,
        status=case.status,
        inputs=() if job is None else tuple(map(str, job.case.images)),
        outputs=() if job is None or case.status == "failed" else tuple(str(made.path) for made in job.files()),
        seconds=case.seconds,
        classes=_classes(case) if wanted.statistics else None,
        failure=None if case.problem is None else Failure.of(case.problem),
    )


def _classes(case: CaseResult) -> tuple[FoundClass, ...] | None:
    """What the statistics of a case found; None where there are none, such as of a case that failed."""
    if case.job is None or case.status == "failed":
        return None
    try:
        return found_classes(CaseStatistics.load(statistics_file(case.job.case.id, case.job.folder), _REMEDY))
    except UserError:
        return None
