"""What is said of cases that could not be segmented while the others were."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from umseg.common.errors import UserError
from umseg.common.memory import is_out_of_memory, out_of_memory
from umseg.common.text import counted, table
from umseg.dataset.check.problems import DatasetError, Problem
from umseg.dataset.dataset import Case

if TYPE_CHECKING:
    from umseg.inference.pipeline.files import FileResult

_RESUME = "The same command keeps the label maps that are there."

_ALL_FAILED = "Correct these cases. If every reason is the same, look at the model and the options first."

_LESS_MEMORY = "Segment it where there is more memory, or in parts."


class FailedCasesError(DatasetError):
    """Some cases could not be segmented, or none; the label maps of all others are written.

    Args:
        problems: One problem for each case that failed.
        written: The files of the label maps that are there; empty if every case failed.
        output: Their folder.
        result: What became of every case, where that is known.
    """

    def __init__(
        self, problems: Sequence[Problem], written: Sequence[Path], output: Path, result: FileResult | None = None
    ) -> None:
        done = counted(len(written), "label map")
        some = f"{counted(len(problems), 'case')} could not be segmented:"
        none = f"None of the {counted(len(problems), 'case')} could be segmented:"
        if len(problems) == 1:
            (only,) = problems
            super().__init__(
                f"Case {only.case} was not segmented: {only.problem}" if only.case else only.problem,
                problems,
                only.file,
                only.found,
                only.expected,
                f"{only.remedy} {done} of the other cases {'is' if len(written) == 1 else 'are'} in {output}. {_RESUME}"
                if written
                else only.remedy,
            )
        else:
            rows = [(problem.case, _reason(problem), str(problem.file)) for problem in problems]
            lines = table([("case", "reason", "file"), *rows], underlined=(0,))
            super().__init__(
                "\n".join([some if written else none, *(f"  {line}" for line in lines)]),
                problems,
                found=f"{done} of the other cases in {output}" if written else None,
                remedy=f"Correct these cases, or take them out. {_RESUME}" if written else _ALL_FAILED,
            )
        self.written = tuple(written)
        self.output = output
        self.result = result

    def __reduce__(self) -> tuple[object, ...]:
        return FailedCasesError, (self.problems, self.written, self.output, self.result)


def problem_of(name: str, case: Case, error: Exception) -> Problem:
    """The problem of a case whose reading, segmentation or writing ended in an error.

    Args:
        name: Name of the case in messages.
        case: The case.
        error: The error.
    """
    file = case.images[0]
    if isinstance(error, UserError):
        return Problem.from_error(name, file, error)
    if is_out_of_memory(error):
        return Problem.from_error(name, file, out_of_memory(error, "Segmenting the image", remedy=_LESS_MEMORY))
    return Problem(
        "An unexpected error occurred.",
        name,
        file,
        found=f"{type(error).__name__}: {_first_line(error)}",
        expected="",
        remedy="Segment this case alone with --debug, and report the error.",
    )


def _reason(problem: Problem) -> str:
    return f"{problem.problem} Found {problem.found}." if problem.found else problem.problem


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")[:200]
