"""Things that another package would add to a table."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from umseg.common.registry import Registry


def add_from_outside(monkeypatch: pytest.MonkeyPatch, table: Registry[Any], name: str, value: str) -> None:
    """Let a table find an entry point for the length of a test, as if a package with it were installed.

    Args:
        monkeypatch: The test's.
        table: One of the package's tables.
        name: Name of the entry.
        value: ``module:object``.
    """
    monkeypatch.setattr(table, "_entries", dict(table._entries))
    monkeypatch.setattr(table, "_plugins", {name: EntryPoint(name, value, table.group)}, raising=False)
