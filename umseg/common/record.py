"""Frozen, validated JSON documents, by which packages exchange data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from umseg.common.errors import UserError
from umseg.common.files import write_text
from umseg.common.json_file import read_json

RecordT = TypeVar("RecordT", bound="Record")


class Record(BaseModel):
    """A frozen pydantic model that is saved as JSON and refuses unknown fields.

    Top-level documents add ``schema_version: Literal[1] = 1``, so that a file of another version is refused
    and not misread.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)

    def save(self, path: Path) -> None:
        """Write the record as indented JSON, atomically."""
        write_text(Path(path), self.to_json())

    def to_json(self) -> str:
        """The record as indented JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    @classmethod
    def load(cls: type[RecordT], path: Path, remedy: str) -> RecordT:
        """Read a record.

        Args:
            path: The JSON file.
            remedy: Advice to the user where the file is missing or wrong, e.g. the command that writes it.

        Raises:
            UserError: The file is missing, is not JSON, or does not fit the schema; the message names the field.
        """
        return cls.from_json(read_json(path, remedy), path, remedy)

    @classmethod
    def from_json(cls: type[RecordT], content: Any, path: Path, remedy: str) -> RecordT:
        """Validate parsed JSON; ``path`` and ``remedy`` are for the error message."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "(the whole document)"
            raise UserError(
                f"{Path(path).name} is not valid: field '{field}'.",
                file=path,
                found=_shorten(first.get("input")),
                expected=expectation(first["msg"]),
                remedy=remedy,
            ) from error


def expectation(message: str) -> str:
    """What pydantic expected, without the words with which its messages begin."""
    for beginning in ("Value error, ", "Assertion failed, ", "Input should be "):
        message = message.removeprefix(beginning)
    return message


def _shorten(value: object, limit: int = 200) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."
