"""Names that become parts of paths: each is one component, which cannot lead out of its folder."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator

from umseg.common.errors import UserError

PathT = TypeVar("PathT", str, Path)

_NAME = re.compile(r"\w(?:[\w .,+=@()-]*[\w+=)])?")
_MOST_LETTERS = 100
_MOST_BYTES = 200
"""File systems allow 255 bytes, some of which are for endings and temporary names."""
_MOST_FILE_BYTES = 255
_MOST_PATH_LETTERS = 4096
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that are devices on Windows, with any ending."""
_SEPARATORS = "/\\"
_NOT_ON_WINDOWS = '<>:"|?*'
_NOT_SHOWN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, halves of characters and breaks."""

NAME_RULE = (
    f"at most {_MOST_LETTERS} letters, digits and . , + = @ ( ) - _ or spaces, beginning with a letter or digit, "
    "and no name that Windows reserves"
)
PATH_RULE = (
    f"a path of at most {_MOST_PATH_LETTERS:,} letters without null characters, each name in it at most "
    f"{_MOST_FILE_BYTES} bytes long"
)
COMPONENT_RULE = f"a file name of at most {_MOST_BYTES} bytes, without / and \\, line breaks and control characters"


def check_name(name: str) -> str:
    """Require a name that is safe on every platform: of a configuration, a model, a preset or a tag.

    Raises:
        ValueError: The name is not safe; the message says what is expected.
    """
    if len(name) > _MOST_LETTERS or not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise ValueError(NAME_RULE)
    return name


def check_component(name: str) -> str:
    """Require a name that can be a file's: of a case or a data set, which come from files that exist.

    Raises:
        ValueError: The name is not that of a file; the message says what is expected.
    """
    forbidden = _SEPARATORS + (_NOT_ON_WINDOWS if os.name == "nt" else "")
    if (
        name.strip(". ") == ""
        or any(letter in forbidden or unicodedata.category(letter) in _NOT_SHOWN for letter in name)
        or len(name.encode("utf-8")) > _MOST_BYTES
        or (os.name == "nt" and _RESERVED.fullmatch(name))
    ):
        raise ValueError(COMPONENT_RULE)
    return name


def check_path(path: PathT) -> PathT:
    """Require a path that a file system can have: systems raise errors of many kinds for others.

    Raises:
        ValueError: The path cannot be that of a file; the message says what is expected.
    """
    text = str(path)
    names = re.split(r"[/\\]", text)
    encoded = [len(name.encode("utf-8", "surrogateescape")) for name in names]
    if "\0" in text or max(encoded) > _MOST_FILE_BYTES or len(text) > _MOST_PATH_LETTERS:
        raise ValueError(PATH_RULE)
    return path


Name = Annotated[str, AfterValidator(check_name)]
"""A field of a record that holds a name of ``check_name``."""

Component = Annotated[str, AfterValidator(check_component)]
"""A field of a record that holds a name of ``check_component``."""

FileText = Annotated[str, AfterValidator(check_path)]
"""A field of a record that holds the path of a file, relative or not, as text."""

FilePath = Annotated[Path, AfterValidator(check_path)]
"""The same as a ``Path``."""


def require_name(name: str, what: str) -> str:
    """The name that a user gave, if it is safe.

    Args:
        name: What the user wrote.
        what: The option or thing, as the message begins, e.g. ``--tag``.

    Raises:
        UserError: The name is not safe.
    """
    try:
        return check_name(name)
    except ValueError as error:
        raise UserError(f"{what} is not a valid name.", found=ascii(name[:200]), expected=str(error)) from None


def require_component(name: str, what: str) -> str:
    """The name of a file or folder, if it is one component.

    Raises:
        UserError: It is not.
    """
    try:
        return check_component(name)
    except ValueError as error:
        raise UserError(f"{what} is not a valid name.", found=ascii(name[:200]), expected=str(error)) from None
