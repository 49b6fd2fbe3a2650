"""The tables of docs/formats.md, which the tests of the formats hold against what is read."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parents[4] / "docs" / "formats.md"


def table_of(section: str) -> list[tuple[str, ...]]:
    """The rows of the first table under a heading, without its head."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")
    body = rest.partition("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    assert len(lines) > 2, f"{PAGE.name} has no table in its section {section}"
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]
