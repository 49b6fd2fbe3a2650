"""The one exception for what the user can put right."""

from __future__ import annotations

from pathlib import Path

from umseg.common.text import visible

# Of a part of a message; values from a file may have any length.
_LONGEST = 4000


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
        # A line break in the name of a file would look like the end of the message.
        file = self.file and self.file.replace("\n", "\\n")
        rows = [("file", file), ("found", self.found), ("expected", self.expected), ("remedy", self.remedy)]
        lines = [self.problem, *(f"  {name + ':':<10}{text}" for name, text in rows if text)]
        return "\n".join(_shortened(visible(line)) for line in lines)

    def at(self, file: str | Path) -> UserError:
        """The same error with the file concerned, where it names none."""
        return UserError(
            self.problem, file=self.file or file, found=self.found, expected=self.expected, remedy=self.remedy
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by their positional arguments only; a worker's error must arrive whole.
        return _rebuild, (self.problem, self.file, self.found, self.expected, self.remedy)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ... ({len(text)} letters)"


def _rebuild(problem: str, file: str | None, found: str | None, expected: str | None, remedy: str | None) -> UserError:
    return UserError(problem, file=file, found=found, expected=expected, remedy=remedy)
