"""The YAML file of ``umseg train --options``: names with plain values, and nothing that grows or runs."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from umseg.common.errors import UserError
from umseg.common.files import read_text
from umseg.common.json_file import without_advice
from umseg.common.text import printable

MOST_BYTES = 2**16
_MOST = 2**63
_MOST_DEPTH = 2
"""The names with their values, and lists in them."""
_EXPECTED = "lines such as `epochs: 300`; a value is a number, a text, true, false, or a list of them"
_PLAIN = (str, int, float, bool, type(None))


def read_options(file: Path) -> Mapping[str, Any]:
    """The options of a YAML file, their names with underscores.

    Raises:
        UserError: The file is missing, or holds something else than names with plain values.
    """
    try:
        content = yaml.load(read_text(file, MOST_BYTES, "utf-8-sig"), _PlainLoader)
    except (OSError, ValueError, OverflowError, yaml.YAMLError) as error:
        # A mark in the file shows the line; what YAML says is no longer than that.
        raise UserError(
            "The file of options cannot be read.",
            file=file,
            found="; ".join(printable(line.strip()) for line in without_advice(error).splitlines()[:6]),
            expected=_EXPECTED,
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            "The file of options does not hold names and values.",
            file=file,
            found=type(content).__name__,
            expected=_EXPECTED,
        )
    content = _flat(content)
    for name, value in content.items():
        parts = value if isinstance(value, list) else [value]
        for part in (name, *parts):
            huge = isinstance(part, int) and abs(part) > _MOST
            if huge or not isinstance(part, _PLAIN):
                raise UserError(
                    "A value in the file of options is of the wrong kind.",
                    file=file,
                    found="a number of too many digits" if huge else f"a {type(part).__name__}",
                    expected=_EXPECTED,
                )
    return {str(name).replace("-", "_"): _number(value) for name, value in content.items()}


def _flat(content: dict[Any, Any]) -> dict[Any, Any]:
    """Names as on the command line, also of a record: ``config.json``, or the output of --show-config."""
    flat = {name: value for name, value in content.items() if name != "schema_version"}
    if "configuration" in flat:
        flat["config"] = flat.pop("configuration")
    if isinstance(flat.get("options"), dict):
        flat |= flat.pop("options")
    return flat


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Reads plain values only: an alias can stand for a billion values, and a name that is written twice for two."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors, aliases and tags (&, *, !) are not used in options", problem_mark=event.start_mark
            )
        if self._depth > _MOST_DEPTH:
            raise yaml.MarkedYAMLError(problem="a list or mapping within a list", problem_mark=event.start_mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise yaml.MarkedYAMLError(problem=f"'{twice[:100]}' stands twice", problem_mark=node.start_mark)
        content: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return content


def _number(value: Any) -> Any:
    """The value, with 1e-4 as a number: YAML 1.1 takes a number without a point for a text."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value
