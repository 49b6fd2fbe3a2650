"""Predictions into a folder that several processes may share: what is there is kept, and what fails stops no other."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import remove_leftovers, write_text
from umseg.common.processes.progress import Progress
from umseg.common.processes.shared import FileClaim, abandoned_since, claim_file, clear_claims, join, members
from umseg.common.text import counted, few
from umseg.dataset.check.problems import Problem
from umseg.dataset.description import DatasetDescription
from umseg.inference.outputs.colour_files import colour_files
from umseg.inference.pipeline.cases import CaseWork, Read, Segmented
from umseg.inference.pipeline.failure_list import FailureList
from umseg.inference.pipeline.failures import problem_of
from umseg.inference.pipeline.products import Job
from umseg.inference.pipeline.record import Made, PredictionRecord, Written, holds_text
from umseg.inference.pipeline.stages import Stages, Stop, run_stages

log = logging.getLogger(__name__)

PURPOSE = "predicts into this folder"
_SECONDS_BETWEEN_LOOKS = 0.5
"""Time after which cases that other processes work on are looked at again."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
"""Errors of the output folder, on which no other case can be written either."""


@dataclass
class Summary:
    """What became of the cases; every case is in one of the lists.

    Attributes:
        written: Cases of which this run wrote something.
        kept: Cases of which everything was there.
        elsewhere: Cases that other processes wrote meanwhile.
        failed: What is wrong with the others.
        turned: Case to the orientation of an image that was turned.
    """

    written: list[Job] = field(default_factory=list)
    kept: list[Job] = field(default_factory=list)
    elsewhere: list[Job] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)
    turned: dict[str, str] = field(default_factory=dict)


def common_files(description: DatasetDescription) -> dict[str, str]:
    """The texts of the files that belong to no case, by their names: what labels mean, and how viewers show them."""
    return {"dataset.json": description.to_json(), **colour_files(description)}


@dataclass(frozen=True)
class Rules:
    """How a run treats what it finds in its folder.

    Attributes:
        resume: Whether files are kept that the same model and settings made of the same images.
        overwrite: Whether files are replaced that umseg did not write, or that were changed since.
        quiet: Whether to show no progress bars.
    """

    resume: bool = True
    overwrite: bool = False
    quiet: bool = False


class FolderRun:
    """A run over cases whose files are written into one folder.

    Args:
        output: The folder.
        jobs: The cases.
        work: What is done with a case.
        fits_beside: Whether a case can be read while another is segmented.
        rules: How it treats what is there.
        stop: The wish to stop, which ``work`` looks at.
    """

    def __init__(
        self,
        output: Path,
        jobs: Sequence[Job],
        work: CaseWork,
        fits_beside: Callable[[Job], bool],
        rules: Rules,
        stop: Stop,
    ) -> None:
        self._output, self._jobs, self._work, self._rules = output, jobs, work, rules
        self._fits_beside, self._stop = fits_beside, stop
        self._record = PredictionRecord(output)
        self._failures = FailureList(self._record)
        self._claims: dict[Job, FileClaim] = {}
        self._to_do: list[Job] = []
        self._guard = threading.Lock()
        self._done = Summary()

    def run(
        self, terms: str, description: DatasetDescription, everything: Collection[str], wrong: Sequence[Problem]
    ) -> Summary:
        """Write everything that is not there yet.

        Args:
            terms: Digest of what label maps depend on besides their images.
            description: The content of ``dataset.json``.
            everything: Names of all cases that were found, those of other parts among them.
            wrong: What is wrong with cases that cannot be segmented at all.

        Raises:
            UserError: The folder has files that are not umseg's, is used by a process with other settings, or can no
                longer be written.
        """
        with join(self._output, PURPOSE, terms, lambda alone: self._begin(alone, description)):
            self._failures.begin(everything)
            self._failures.update(wrong, [job.name for job in self._done.kept])
            try:
                with (
                    Progress(len(self._to_do), "Predicting", quiet=self._rules.quiet) as self._bar,
                    self._work.watched(),
                ):
                    run_stages(self._items(), self._stages(), self._stop)
            except KeyboardInterrupt:
                self._tell_stopped()
                raise
            finally:
                for claim in self._claims.values():
                    claim.release()
        self._done.failed[:0] = wrong
        return self._done

    def _stages(self) -> Stages[Job, Read, Segmented]:
        work = self._work
        return Stages(work.read, work.is_small, self._fits_beside, self._compute, self._write, self._fail)

    def _compute(self, group: Sequence[tuple[Job, Read]]) -> list[Segmented]:
        """Segment cases; files that are written meanwhile are recorded before, as all others are."""
        begun = [job.probabilities.path for job, _ in group if job.probabilities and job not in self._work.finished]
        if begun:
            self._record.begin(begun)
        return self._work.compute(group)

    def _begin(self, alone: bool, description: DatasetDescription) -> None:
        """Look at what is there, refuse what is not umseg's, and write what belongs to no case."""
        self._record.refresh()
        void = not self._rules.resume and alone
        if not self._rules.resume and not alone:
            log.warning("Another process predicts into this folder already: what it has written is kept.")
        for job in self._jobs:
            self._sort(job, void)
        if alone:
            self._put_off_abandoned()
        if self._done.kept:
            log.info("Keeping %s that this model made of these images.", counted(len(self._done.kept), "label map"))
        again = [made.path for job in self._to_do for made in self._files_to_write(job)]
        common = {self._output / name: text for name, text in common_files(description).items()}
        if not self._rules.overwrite:
            self._record.refuse_others(again)
            for path, text in common.items():
                self._record.refuse_other_text(path, text)
            self._failures.refuse_other()
        if alone:
            for folder in {self._output, *(made.path.parent for job in self._jobs for made in job.files())}:
                remove_leftovers(folder)
                clear_claims(folder)
            self._record.compact(again if void else ())
        for path, text in common.items():
            if not holds_text(path, text) or not self._record.is_own(path):
                self._record.begin([path])
                write_text(path, text)
                self._record.finish([Made(path)])

    def _sort(self, job: Job, void: bool) -> None:
        """Decide whether a case is kept."""
        labelled = not void and all(map(self._record.is_complete, job.computed()))
        if labelled and job.refusal is None and all(map(self._record.is_complete, job.derived())):
            self._done.kept.append(job)
            return
        self._to_do.append(job)
        if labelled:
            self._work.finished.add(job)

    def _put_off_abandoned(self) -> None:
        """Leave cases for the end at which a process was killed: if one was the reason, all others come first.

        The last of them that was begun comes first, because the one before it was at work for longer.
        """
        since = {job: abandoned_since(job.label.path) for job in self._to_do}
        abandoned = [job for job in self._to_do if since[job] is not None]
        if abandoned:
            self._to_do.sort(key=lambda job: -(since[job] or math.inf))
            log.warning(
                "An earlier run was killed while it worked on %s, which %s last.",
                few(job.name for job in abandoned),
                "comes" if len(abandoned) == 1 else "come",
            )

    def _files_to_write(self, job: Job) -> list[Made]:
        return list(job.derived() if job in self._work.finished else job.files())

    def _items(self) -> Iterator[Job]:
        """Every case that nobody else makes, as soon as that is known; in the thread that reads."""
        before = {job: self._entries(job) for job in self._to_do}
        waiting, told = list(self._to_do), False
        while waiting and not self._stop.is_set():
            later = []
            for job in waiting:
                claim = claim_file(job.label.path)
                if claim is None:
                    later.append(job)
                elif self._is_made(job, before[job]):
                    claim.release()
                    self._done.elsewhere.append(job)
                    self._step()
                else:
                    self._claims[job] = claim
                    yield job
            if later and not told:
                told = True
                others = [member.process for member in members(self._output.resolve())]
                names = few(str(process) for process in others if process.pid != os.getpid()) or "in this process"
                log.info("Waiting for %s at work elsewhere: %s.", counted(len(later), "case"), names)
            waiting = later
            if waiting and self._stop.wait(_SECONDS_BETWEEN_LOOKS):
                break

    def _entries(self, job: Job) -> list[Written | None]:
        return [self._record.entry(made.path) for made in job.files()]

    def _is_made(self, job: Job, before: Sequence[Written | None]) -> bool:
        """Whether another process has made everything since the beginning; its label map is used at any rate."""
        self._record.refresh()
        now = self._entries(job)
        if now[0] != before[0] and all(map(self._record.is_recorded, job.computed())):
            self._work.finished.add(job)
        return now != before and all(map(self._record.is_recorded, job.files()))

    def _write(self, group: Sequence[tuple[Job, Segmented]]) -> None:
        """Write cases, and record them.

        Raises:
            UserError: No other case can be written either.
        """
        self._record.begin([made.path for job, _ in group for made in self._files_to_write(job)])
        written: list[tuple[Job, Segmented]] = []
        no_room: Exception | None = None
        for job, segmented in group:
            try:
                self._work.save(job, segmented)
            except Exception as error:  # whatever it is, it concerns this case, and is reported with it
                if self._is_no_room(job, error):
                    no_room = error
                    break
                self._fail(job, error)
            else:
                written.append((job, segmented))
        with contextlib.suppress(UserError) if no_room else contextlib.nullcontext():
            self._record.finish([made for job, _ in written for made in self._files_to_write(job)])
        if no_room is not None:
            raise no_room
        self._failures.update((), [job.name for job, _ in written])
        for job, segmented in written:
            if segmented.is_turned and segmented.axes is not None:
                self._done.turned[job.name] = segmented.axes
            self._claims.pop(job).release()
            self._done.written.append(job)
            self._step()

    def _is_no_room(self, job: Job, error: Exception) -> bool:
        """Whether no other case can be written either."""
        if not isinstance(error, UserError) or getattr(error.__cause__, "errno", None) not in _NO_ROOM:
            return False
        return error.file in {str(made.path) for made in job.files()}

    def _fail(self, job: Job, error: Exception) -> None:
        """Say at once why a case failed; in any thread."""
        log.debug("Case %s", job.name, exc_info=error)
        problem = problem_of(job.name, job.case, error)
        found = f" Found {problem.found}." if problem.found else ""
        log.error("Case %s was not segmented: %s%s (%s)", job.name, problem.problem, found, problem.file)
        self._failures.update([problem], ())
        self._claims.pop(job).release()
        self._done.failed.append(problem)
        self._step()

    def _step(self) -> None:
        with self._guard:
            self._bar.update()

    def _tell_stopped(self) -> None:
        log.warning(
            "Stopped: %d of %s are in %s. The same command writes the others.",
            len(self._done.written) + len(self._done.kept) + len(self._done.elsewhere),
            counted(len(self._jobs), "label map"),
            self._output,
        )


def tell_turned(turned: dict[str, str], orientation: str | None) -> None:
    """Say which images were turned to the orientation of the training images."""
    if turned:
        log.warning(
            "%s turned to %s, the orientation of the training images, and %s back: %s.",
            f"{counted(len(turned), 'image')} {'was' if len(turned) == 1 else 'were'}",
            orientation,
            "its label map" if len(turned) == 1 else "their label maps",
            few(f"{case} ({axes})" for case, axes in turned.items()),
        )
