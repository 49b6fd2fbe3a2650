"""``umseg report``: one page from trained folds, scores and folders of label maps, and the ratings of reviewers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import write_csv, write_text
from umseg.common.processes.parallel import map_cases
from umseg.common.text import counted, few
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.images import read_geometry
from umseg.reports.page.contents import report_page
from umseg.reports.page.report import Report
from umseg.reports.page.sources.ratings import REMEDY, Ratings, format_agreement, merged_rows, reviewer_names
from umseg.workflows.report_cases import CaseJob, draw_case
from umseg.workflows.report_sources import Beside, Found, find_sources

log = logging.getLogger(__name__)

PICTURES, VOLUMES, MEGABYTES = 200, 3, 8.0
"""Cases that have pictures and volumes by default, and the size of a page."""
_VIEWER = 1_100_000
"""Characters that NiiVue takes, packed."""
_OF_TEXT, _OF_CASE = 350_000, 4_000
"""Characters of a page besides pictures, and those that a case adds."""
_LEAST_PICTURE = 9_000
"""Characters below which pictures are of no use; fewer cases have them then."""


@dataclass(frozen=True)
class PageOptions:
    """How a page is made.

    Attributes:
        title: Heading; None: the name of the first source.
        pictures: Number of cases with pictures, those that come first.
        volumes: Number of cases whose volumes can be seen.
        megabytes: Size that the page stays below.
        command: The command that makes it, as it is shown.
    """

    title: str | None = None
    pictures: int = PICTURES
    volumes: int = VOLUMES
    megabytes: float = MEGABYTES
    command: str = ""


def make_report(
    inputs: Sequence[Path],
    output: Path,
    *,
    beside: Beside | None = None,
    options: PageOptions | None = None,
    workers: int = 0,
    quiet: bool = False,
) -> Path:
    """Write a page that shows scores, cases and trainings; it is one file, which needs no network.

    Args:
        inputs: Trained folds or model folders, files of scores, and folders of label maps.
        output: The page, ``.html``.
        beside: Folders of images, references and label maps, where the inputs do not name them.
        options: How the page is made.
        workers: Number of processes that read and draw cases; 0 works in this one.
        quiet: Whether to show no progress bar.

    Returns:
        The page.

    Raises:
        UserError: An input is nothing that a page is made from, a file of it is damaged, or the page cannot be written.
    """
    options = options or PageOptions()
    if output.is_dir():
        raise UserError("The output is a folder.", file=output, remedy="Name a file with -o, e.g. report.html.")
    found = find_sources(inputs, beside or Beside())
    report = Report(
        title=options.title or _title(found),
        sources=tuple(entry.source for entry in found),
        legend=_legend(found),
        objects=any(entry.description is not None and entry.description.task == "instance" for entry in found),
        plan=next((entry.plan for entry in found if entry.plan), ""),
        command=options.command,
    )
    jobs = _jobs(found, report.order, options)
    drawn = list(map_cases(draw_case, jobs, [job.case for job in jobs], workers=workers, title="Pictures", quiet=quiet))
    pictures = {job.case: picture for job, picture in zip(jobs, drawn, strict=True)}
    page = report_page(report.with_pictures(pictures, _notes(report.order, found, jobs)))
    write_text(output, page)
    size = len(page.encode()) / 1e6
    if size > options.megabytes:
        log.warning("The page has %.1f MB, more than %g: give fewer --pictures or --volumes.", size, options.megabytes)
    return output


def merge_ratings(files: Sequence[Path], output: Path | None) -> str:
    """The ratings of several reviewers as a table (CSV), and how far they agree as text.

    Args:
        files: ``ratings.json`` of each reviewer.
        output: The table; None writes none.

    Raises:
        UserError: A file is missing or damaged, or the table cannot be written.
    """
    reviews = [Ratings.load(file, REMEDY) for file in files]
    names = reviewer_names(reviews, [file.stem for file in files])
    pages = {review.page for review in reviews}
    if len(pages) > 1:
        log.warning("The reviewers rated different pages: %s. Cases are paired by their names.", few(sorted(pages)))
    if output is not None:
        write_csv(output, merged_rows(reviews, names))
    return format_agreement(reviews, names)


def _title(found: Sequence[Found]) -> str:
    datasets = {entry.source.training.card.plan.dataset_name for entry in found if entry.source.training is not None}
    if len(datasets) == 1:
        models = [entry.source.name for entry in found]
        return f"{datasets.pop()}: {models[0]}" if len(found) == 1 else datasets.pop()
    return found[0].source.name if len(found) == 1 else " and ".join(entry.source.name for entry in found[:3])


def _legend(found: Sequence[Found]) -> tuple[str, ...]:
    """Names of the classes in the order of their colours."""
    description = _description(found)
    if description is None:
        scores = [entry.source.scores for entry in found if entry.source.scores is not None]
        return scores[0].classes if scores else ()
    if description.task == "instance":
        return tuple(name for name, value in description.labels.items() if value == 1)
    return tuple(description.regions)


def _description(found: Sequence[Found]) -> DatasetDescription | None:
    return next((entry.description for entry in found if entry.description is not None), None)


def _jobs(found: Sequence[Found], order: Sequence[str], options: PageOptions) -> list[CaseJob]:
    """The cases to draw, in the order of the page, each with its share of the page's size."""
    images = {case: files for entry in found for case, files in entry.images.items()}
    references = {case: file for entry in found for case, file in entry.references.items()}
    shown = [case for case in order if case in images and any(case in entry.predictions for entry in found)]
    shown = shown[: options.pictures]
    solid = bool(shown) and read_geometry(images[shown[0]][0]).shape[0] > 1
    volumes = min(options.volumes, len(shown)) if solid else 0
    room = int(options.megabytes * 1e6) - _OF_TEXT - _OF_CASE * len(order) - (_VIEWER if volumes else 0)
    for_planes = max(room, 0) * (2 if volumes else 4) // 5
    shown = shown[: max(1, for_planes // _LEAST_PICTURE)]
    each = for_planes // max(len(shown), 1)
    each_volume = (max(room, 0) - for_planes) * 19 // 20 // max(volumes, 1)
    threshold = found[0].threshold
    return [
        CaseJob(
            case=case,
            images=images[case],
            reference=references.get(case),
            predictions=tuple(entry.predictions.get(case) for entry in found),
            description=_description(found),
            threshold=threshold,
            planes=each,
            volumes=each_volume if place < volumes else 0,
        )
        for place, case in enumerate(shown)
    ]


def _notes(order: Sequence[str], found: Sequence[Found], jobs: Sequence[CaseJob]) -> tuple[str, ...]:
    """Why cases have no picture."""
    without = len(order) - len(jobs)
    if not without:
        return ()
    if jobs:
        return (f"Pictures: of {counted(len(jobs), 'case')}, those that come first.",)
    if not any(entry.images for entry in found):
        return ("There are no pictures, because the images were not found. Name their folder with --images.",)
    return ("There are no pictures, because no label map of these cases was found beside the scores.",)
