"""The problems of a data set: one record for each, and the error that carries them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from umseg.common.errors import UserError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one case, or with the data set as a whole.

    Attributes:
        problem: The kind of problem, in the same words for every case.
        case: The case's id; empty for a problem that concerns no single case.
        file: The file concerned.
        found: What was found there.
        expected: What was expected.
        remedy: What the user can do.
        severity: Whether the problem stops the command (error) or is only logged (warning).
    """

    problem: str
    case: str
    file: Path
    found: str
    expected: str
    remedy: str
    severity: Literal["error", "warning"] = "error"

    @classmethod
    def from_error(cls, case: str, file: Path, error: UserError) -> Problem:
        """The problem of a case with a file that could not be read; ``file`` stands in for an error that names none."""
        return cls(
            problem=error.problem,
            case=case,
            file=Path(error.file) if error.file else file,
            found=error.found or "",
            expected=error.expected or "",
            remedy=error.remedy or "",
        )

    @property
    def texts(self) -> dict[str, str]:
        """What is wrong and what can be done, as texts by the names of the fields; without the case."""
        return {
            "problem": self.problem,
            "file": str(self.file),
            "found": self.found,
            "expected": self.expected,
            "remedy": self.remedy,
        }


class DatasetError(UserError):
    """A data set has errors.

    Args:
        problem: The message, with several lines for several problems.
        problems: All problems that were found, including warnings.
        file: The file or folder concerned, as in ``UserError``.
        found: What was found there.
        expected: What was expected instead.
        remedy: What the user can do now.
    """

    def __init__(
        self,
        problem: str,
        problems: Sequence[Problem],
        file: str | Path | None = None,
        found: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem, file=file, found=found, expected=expected, remedy=remedy)
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[object, ...]:
        return DatasetError, (self.problem, self.problems, self.file, self.found, self.expected, self.remedy)
