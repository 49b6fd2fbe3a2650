"""What can be wrong with a data set: one record per problem, and the error that carries them all."""

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
        problem: The kind of problem, the same words for every case.
        case: The case's id; empty if it concerns no case.
        file: The file concerned.
        found: What was found there.
        expected: What was expected.
        remedy: What the user can do.
        severity: An error stops; a warning is logged.
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
        """A file that could not be read is one problem among others; ``file`` for an error that names none."""
        return cls(
            problem=error.problem,
            case=case,
            file=Path(error.file) if error.file else file,
            found=error.found or "",
            expected=error.expected or "",
            remedy=error.remedy or "",
        )


class DatasetError(UserError):
    """A data set has errors.

    Args:
        problem: The message; several lines for several problems.
        problems: All that was found, warnings as well.
        file: As in ``UserError``.
        found: As in ``UserError``.
        expected: As in ``UserError``.
        remedy: As in ``UserError``.
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
