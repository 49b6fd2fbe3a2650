"""From what a user names to what is written: cases are found, divided into parts, segmented and recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from umseg.common.errors import UserError
from umseg.common.files import plain_path
from umseg.common.processes.progress import Progress
from umseg.dataset.check.problems import Problem
from umseg.dataset.check.report import report_problems
from umseg.dataset.dataset import Case, survey_cases
from umseg.dataset.nested import PlacedCase, survey_nested
from umseg.inference.pipeline.cases import CaseWork, Segmented
from umseg.inference.pipeline.failure_list import FAILURES
from umseg.inference.pipeline.failures import FailedCasesError
from umseg.inference.pipeline.folder import FolderRun, Rules, Summary, common_files, tell_turned
from umseg.inference.pipeline.memory import RunMemory
from umseg.inference.pipeline.output_place import refuse_place, refuse_replacing_inputs
from umseg.inference.pipeline.products import Job, Products
from umseg.inference.pipeline.record import RECORD
from umseg.inference.pipeline.stages import Stages, Stop, run_stages
from umseg.inference.segmenter import Segmenter
from umseg.models.card import ModelCard


@dataclass(frozen=True)
class FileRequest:
    """What a user asks for.

    Attributes:
        inputs: Files, folders and patterns.
        output: Folder for predictions alone.
        products: What is written of each case.
        quiet: Whether to show no progress bars.
        resume: Whether files are kept that the same model and settings made of the same images.
        overwrite: Whether files are replaced that umseg did not write, or that were changed since.
        recursive: Whether folders within the input folders are searched.
        part: Which share of the cases is segmented, from 0, and of how many; None: all.
    """

    inputs: tuple[Path, ...]
    output: Path
    products: Products
    quiet: bool = False
    resume: bool = True
    overwrite: bool = False
    recursive: bool = False
    part: tuple[int, int] | None = None


@dataclass(frozen=True)
class CaseResult:
    """What became of a case.

    Attributes:
        name: Its name, after the folder in which it was found where there are several.
        status: Written by this run, kept from an earlier one, written meanwhile by another process, or failed.
        job: The case and its files; None for what is no case, such as an image whose channels are incomplete.
        seconds: Time from reading to writing; None where this run did not write it.
        problem: Why it failed.
    """

    name: str
    status: Literal["written", "kept", "elsewhere", "failed"]
    job: Job | None = None
    seconds: float | None = None
    problem: Problem | None = None


@dataclass(frozen=True)
class FileResult:
    """What became of a request.

    Attributes:
        output: The output folder.
        label_maps: The files of all cases of this part.
        written: How many cases this run wrote.
        kept: How many were there.
        elsewhere: How many other processes wrote meanwhile.
        cases: What became of each case, by name.
    """

    output: Path
    label_maps: list[Path]
    written: int
    kept: int
    elsewhere: int
    cases: tuple[CaseResult, ...] = ()


def segment_files(
    model: Segmenter, network: contextlib.AbstractContextManager[Any], request: FileRequest
) -> FileResult:
    """Segment what a user asks for.

    Args:
        model: The model.
        network: Held while the networks work.
        request: What is asked for.

    Raises:
        FailedCasesError: Some cases could not be segmented; those of the others are written.
        UserError: There is no input, the output folder is not one for predictions, or it cannot be written.
    """
    output, card, products = plain_path(request.output), model.card, request.products
    cases, problems = _find(request, card, output)
    if not cases:
        report_problems(problems, request.inputs[0].absolute())
    everything = {str(place / case.id) for place, case in cases} | {problem.case for problem in problems}
    cases, problems = _share(cases, problems, request.part)
    plain = [case for _, case in cases]
    refuse_place(output, request.inputs, plain)
    terms = products.terms(model.settings)
    jobs = products.jobs(cases, output, terms)
    common = [output / name for name in (*common_files(card.dataset), RECORD, FAILURES)]
    refuse_replacing_inputs(plain, [*(made.path for job in jobs for made in job.files()), *common])
    stop = Stop()
    memory = RunMemory(model, products.program_bytes(jobs), alone=len(jobs) == 1)
    work = CaseWork(model, network, products, stop, memory, request.quiet)
    rules = Rules(request.resume, request.overwrite, request.quiet)
    run = FolderRun(output, jobs, work, memory.fits_beside, rules, stop)
    summary = run.run(terms, card.dataset, everything, problems)
    tell_turned(summary.turned, card.orientation)
    return _result(output, jobs, summary, work.seconds)


def segment_cases(
    model: Segmenter,
    network: contextlib.AbstractContextManager[Any],
    cases: Sequence[Case],
    output: Path,
    quiet: bool,
) -> list[Path]:
    """Segment cases into a folder that umseg keeps for itself; earlier files are replaced and nothing is recorded.

    Raises:
        UserError: A case cannot be segmented. Label maps that were written before are kept.
    """
    output, card = plain_path(output), model.card
    products = Products(card.dataset.file_ending)
    jobs = products.jobs([(PurePosixPath(), case) for case in cases], output, "")
    label_maps = [job.label.path for job in jobs]
    refuse_replacing_inputs(cases, [*label_maps, output / "dataset.json"])
    card.dataset.save(output / "dataset.json")
    stop, errors, turned = Stop(), list[Exception](), dict[str, str]()
    memory = RunMemory(model, products.program_bytes(jobs), alone=len(jobs) == 1)
    work = CaseWork(model, network, products, stop, memory, quiet)

    def fail(job: Job, error: Exception) -> None:
        errors.append(error)
        stop.set()

    with Progress(len(jobs), "Predicting", quiet=quiet) as bar, work.watched():

        def write(group: Sequence[tuple[Job, Segmented]]) -> None:
            for job, segmented in group:
                work.save(job, segmented)
                if segmented.is_turned and segmented.axes is not None:
                    turned[job.name] = segmented.axes
                bar.update()

        run_stages(iter(jobs), Stages(work.read, work.is_small, memory.fits_beside, work.compute, write, fail), stop)
    if errors:
        raise errors[0]
    tell_turned(turned, card.orientation)
    return label_maps


def _find(request: FileRequest, card: ModelCard, output: Path) -> tuple[list[PlacedCase], list[Problem]]:
    description = card.dataset
    if not request.recursive:
        cases, problems = survey_cases(request.inputs, description.num_channels, description.file_ending)
        return [(PurePosixPath(), case) for case in cases], problems

    def is_of_predictions(folder: Path) -> bool:
        return plain_path(folder) == output or (folder / RECORD).is_file()

    return survey_nested(request.inputs, description.num_channels, description.file_ending, is_of_predictions)


def _share(
    cases: list[PlacedCase], problems: list[Problem], part: tuple[int, int] | None
) -> tuple[list[PlacedCase], list[Problem]]:
    """Every n-th case, those among them that cannot be segmented; what concerns no case belongs to the first part.

    Raises:
        UserError: There is no such part.
    """
    if part is None:
        return cases, problems
    number, count = part
    if not 0 <= number < count:
        raise UserError(
            "There is no such part of the cases.",
            found=f"part {number} of {count}",
            expected=f"a part from 0 to {max(count - 1, 0)}",
            remedy="Correct --part: 0/4, 1/4, 2/4 and 3/4 are the four parts of four.",
        )
    names = sorted({str(place / case.id) for place, case in cases} | {problem.case for problem in problems} - {""})
    mine = set(names[number::count]) | ({""} if number == 0 else set())
    return (
        [(place, case) for place, case in cases if str(place / case.id) in mine],
        [problem for problem in problems if problem.case in mine],
    )


def _result(output: Path, jobs: Sequence[Job], summary: Summary, seconds: Mapping[str, float]) -> FileResult:
    """What became of a run.

    Raises:
        FailedCasesError: Some cases failed.
    """
    failed = {problem.case for problem in summary.failed}
    label_maps = [job.label.path for job in jobs if job.name not in failed]
    cases = _case_results(jobs, summary, seconds)
    result = FileResult(output, label_maps, len(summary.written), len(summary.kept), len(summary.elsewhere), cases)
    if failed:
        raise FailedCasesError(summary.failed, label_maps, output, result)
    return result


def _case_results(jobs: Sequence[Job], summary: Summary, seconds: Mapping[str, float]) -> tuple[CaseResult, ...]:
    by_name = {job.name: job for job in jobs}
    found = [CaseResult(job.name, "written", job, seconds.get(job.name)) for job in summary.written]
    found += [CaseResult(job.name, "kept", job) for job in summary.kept]
    found += [CaseResult(job.name, "elsewhere", job) for job in summary.elsewhere]
    found += [CaseResult(one.case, "failed", by_name.get(one.case), problem=one) for one in summary.failed]
    return tuple(sorted(found, key=lambda case: case.name))
