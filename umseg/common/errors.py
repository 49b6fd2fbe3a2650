"""The one exception for what the user can put right."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """Something is wrong with the input, and the user can mend it.

    The command line prints it without a traceback and exits with code 2.

    Args:
        problem: One sentence: what is wrong.
        file: The file or folder concerned.
        found: What was found there.
        expected: What was expected instead.
        remedy: What the user can do now.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        found: object = None,
        expected: object = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = None if file is None else str(file)
        self.found = None if found is None else str(found)
        self.expected = None if expected is None else str(expected)
        self.remedy = remedy

    def __str__(self) -> str:
        rows = [("file", self.file), ("found", self.found), ("expected", self.expected), ("remedy", self.remedy)]
        return "\n".join([self.problem, *(f"  {name + ':':<10}{text}" for name, text in rows if text)])

    def at(self, file: str | Path) -> UserError:
        """The same error with the file concerned, where it names none."""
        return UserError(
            self.problem, file=self.file or file, found=self.found, expected=self.expected, remedy=self.remedy
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by their positional arguments only; a worker's error must arrive whole.
        return _rebuild, (self.problem, self.file, self.found, self.expected, self.remedy)


def _rebuild(problem: str, file: str | None, found: str | None, expected: str | None, remedy: str | None) -> UserError:
    return UserError(problem, file=file, found=found, expected=expected, remedy=remedy)
