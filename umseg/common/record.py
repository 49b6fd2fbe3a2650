"""Frozen, validated JSON documents, by which packages exchange data."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from umseg.common.errors import UserError
from umseg.common.files import write_text
from umseg.common.json_file import MOST_BYTES, read_json
from umseg.common.text import printable

RecordT = TypeVar("RecordT", bound="Record")


class Record(BaseModel):
    """A frozen pydantic model that is saved as JSON and refuses unknown fields.

    Top-level documents add ``schema_version: Literal[1] = 1``, so that a file of another version is refused
    and not misread.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)

    most_bytes: ClassVar[int] = MOST_BYTES
    """Largest file that is read; documents that do not grow with the data set state less."""

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
        return cls.from_json(read_json(path, remedy, cls.most_bytes), path, remedy)

    @classmethod
    def from_json(cls: type[RecordT], content: Any, path: Path, remedy: str) -> RecordT:
        """Validate parsed JSON; ``path`` and ``remedy`` are for the error message."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise invalid(f"{Path(path).name} is not valid", error, file=path, remedy=remedy) from error


class FieldError(ValueError):
    """Fields of a record contradict each other, which its ``model_validator`` finds.

    Args:
        field: Name of the field that is reported.
        found: Its value.
        expected: What it has to be, for the other fields.
    """

    def __init__(self, field: str, found: object, expected: str) -> None:
        super().__init__(f"{field}: {expected}")
        self.field = field
        self.found = found
        self.expected = expected


def invalid(problem: str, error: ValidationError, *, file: Path | None = None, remedy: str | None = None) -> UserError:
    """The error for values that do not fit a record, which names the first field that is wrong.

    Args:
        problem: What is wrong, without a full stop; the field is added.
        error: pydantic's error.
        file: File of the values.
        remedy: What the user can do.
    """
    first = error.errors(include_url=False)[0]
    found, expected = first.get("input"), expectation(first["msg"])
    path = [*first["loc"]]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, FieldError):
        path.append(cause.field)
        found, expected = cause.found, cause.expected
    field = ".".join(str(part) for part in path) or "(the whole document)"
    return UserError(
        f"{problem}: field '{printable(field)}'.", file=file, found=shorten(found), expected=expected, remedy=remedy
    )


class SparseRecord(Record):
    """A record that leaves new fields out of its JSON where they have their default.

    Files without them stay as every version wrote them.

    Attributes:
        sparse: Names of these fields.
    """

    sparse: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_defaults(self, as_usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = as_usual(self)
        for name in self.sparse:
            if getattr(self, name) == type(self).model_fields[name].default:
                content.pop(name, None)
        return content


def expectation(message: str) -> str:
    """What pydantic expected, without the words with which its messages begin."""
    for beginning in ("Value error, ", "Assertion failed, ", "Input should be "):
        message = message.removeprefix(beginning)
    return message


def shorten(value: object, limit: int = 200) -> str:
    """A value as JSON, cut short, whatever it is and however long."""
    try:
        text = "".join(itertools.islice(_ENCODER.iterencode(value), limit + 1))
    except (ValueError, RecursionError, TypeError):
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 3] + "..."


_ENCODER = json.JSONEncoder(default=lambda value: ascii(value)[:200], skipkeys=True)
