"""``failures.json``: the cases of a folder of predictions that could not be segmented, and why."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Literal

from umseg.common.errors import UserError
from umseg.common.record import Record
from umseg.dataset.check.problems import Problem
from umseg.inference.pipeline.record import PredictionRecord

log = logging.getLogger(__name__)

FAILURES = "failures.json"
_REMEDY = "Move the file away; --overwrite replaces it."


class Failure(Record):
    """A case that could not be segmented.

    Attributes:
        case: The case; with its folder where images of several folders are segmented.
        problem: What is wrong.
        file: The file concerned.
        found: What was found there.
        expected: What was expected.
        remedy: What can be done.
    """

    case: str
    problem: str
    file: str
    found: str
    expected: str
    remedy: str

    @classmethod
    def of(cls, problem: Problem) -> Failure:
        """The failure of a problem's case."""
        return cls(case=problem.case, **problem.texts)


class Failures(Record):
    """``failures.json``.

    Attributes:
        failures: One entry for each case, in the order of the cases.
    """

    schema_version: Literal[1] = 1
    failures: tuple[Failure, ...]


class FailureList:
    """The file of a folder to which several processes may write; without failures there is none.

    Args:
        record: The record of the folder, whose lock holds for this file too.
    """

    def __init__(self, record: PredictionRecord) -> None:
        self._record = record
        self.path = record.folder / FAILURES

    def refuse_other(self) -> None:
        """Raise a UserError if there is a file of that name which is no list of failures."""
        if self.path.exists():
            Failures.load(self.path, _REMEDY)

    def begin(self, cases: Collection[str]) -> None:
        """Drop what an earlier run wrote of cases that are no longer there, or all if the file cannot be read.

        Raises:
            UserError: The file cannot be written.
        """
        with self._record.locked():
            self._write({case: failure for case, failure in self._read().items() if case in cases})

    def update(self, failed: Sequence[Problem], done: Collection[str]) -> None:
        """Add the cases of problems, and drop the cases that are done; that this cannot be written is only told."""
        try:
            with self._record.locked():
                there = self._read()
                now = {case: failure for case, failure in there.items() if case not in done}
                now |= {problem.case or str(problem.file): Failure.of(problem) for problem in failed}
                if now != there:
                    self._write(now)
        except UserError as error:
            log.warning("%s", error)

    def _read(self) -> dict[str, Failure]:
        try:
            found = Failures.load(self.path, _REMEDY).failures
        except UserError:
            return {}
        return {failure.case or failure.file: failure for failure in found}

    def _write(self, failures: dict[str, Failure]) -> None:
        if failures:
            Failures(failures=tuple(failures[case] for case in sorted(failures))).save(self.path)
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError("The file cannot be removed.", file=self.path, found=error.strerror) from error
