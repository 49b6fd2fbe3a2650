"""Reading of JSON files that nobody has checked: limited in size and depth, and without what loses or hides values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from umseg.common.errors import UserError
from umseg.common.files import read_bytes

MOST_BYTES = 64 * 2**20
"""Largest JSON file that is read. The fingerprint of 100,000 cases has about 30 MB."""

MOST_DEPTH = 64
"""Most objects and lists within each other. umseg's own files have fewer than ten."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: Path, remedy: str, most: int = MOST_BYTES) -> Any:
    """Parse a JSON file.

    Args:
        path: A regular file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.
        remedy: What the user can do if the file cannot be read.
        most: Largest size in bytes.

    Raises:
        UserError: The file is missing, unreadable, too large or not JSON. Names that occur twice in an object, NaN and
            infinity are refused, too.
    """
    path = Path(path)
    try:
        content = read_bytes(path, most, remedy)
        # Editors on Windows may put a byte order mark first, or write UTF-16.
        return parse_json(content.decode(json.detect_encoding(content)))
    except FileNotFoundError as error:
        raise UserError(f"{path.name} does not exist.", file=path, remedy=remedy) from error
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at position {error.start}, which is not {error.encoding}"
        raise UserError(
            f"{path.name} is not valid JSON.",
            file=path,
            found=found,
            expected="a text that is saved as UTF-8",
            remedy=remedy,
        ) from error
    except ValueError as error:
        raise UserError(f"{path.name} is not valid JSON.", file=path, found=str(error), remedy=remedy) from error
    except OSError as error:
        raise UserError(
            f"{path.name} cannot be read.", file=path, found=error.strerror or str(error), remedy=remedy
        ) from error


def parse_json(text: str) -> Any:
    """Parse JSON strictly.

    Raises:
        ValueError: The text is not JSON, is nested too deeply, or has a name twice in one object, a number that is not
            finite or has thousands of digits, or a text that is no Unicode. The message says what is wrong and where.
    """
    try:
        content = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(_explain(error)) from error
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(without_advice(error)) from None
    _limit_depth(content)
    if _SURROGATE.search(text):
        _require_unicode(content)
    return content


def without_advice(error: Exception) -> str:
    """The message of an error, without Python's advice to its programmers about numbers of many digits."""
    return _DIGITS if str(error).startswith("Exceeds the limit") else str(error)


_DIGITS = "a number of thousands of digits"
_TOO_DEEP = f"more than {MOST_DEPTH} lists or objects within each other"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in content if names.count(name) > 1)
        raise ValueError(f"{json.dumps(twice)[:100]} stands twice in one object: one of the values would be lost")
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is not a number of JSON")


def _limit_depth(content: object) -> None:
    level: list[Any] = [content]
    for _ in range(MOST_DEPTH):
        level = [child for node in level for child in _children(node) if isinstance(child, (dict, list))]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _children(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _require_unicode(content: object) -> None:
    """Refuse one half of a character of UTF-16; what Python puts in place of a byte in a path is no such half."""
    try:
        json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("a text with half a character (\\ud800 to \\udfff)") from None


def _explain(error: json.JSONDecodeError) -> str:
    """The place of a syntax error, and the usual mistake where it is one."""
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    position = error.pos
    hint = error.msg
    if (before.endswith(",") and after[:1] in ("}", "]")) or error.msg.startswith("Illegal trailing comma"):
        # Python before 3.13 points behind the comma.
        position = len(before) - 1 if before.endswith(",") else error.pos
        hint = "a comma after the last entry; remove it"
    elif after.startswith(("//", "#", "/*")):
        hint = "a comment, which JSON does not have; remove it"
    elif after.startswith("'"):
        hint = "a single quotation mark; write double ones"
    elif not error.doc.strip():
        return "an empty file"
    line = error.doc.count("\n", 0, position) + 1
    column = position - error.doc.rfind("\n", 0, position)
    return f"line {line}, column {column}: {hint}"
