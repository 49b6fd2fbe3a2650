"""The documentation is true: sections that the code cites and files that pages link to exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "docs" / "rules.md"
CITING_FOLDERS = ("umseg", "tests", "benchmarks")
# A comment may break the line after the comma; the section's name begins with a capital letter and may have two words.
CITATION = re.compile(r"docs/rules\.md,\s+(?:#\s*)?([A-Z]\w+(?: [a-z]+)?)")


def sections() -> set[str]:
    return set(re.findall(r"^## (.+)$", RULES.read_text(encoding="utf-8"), flags=re.MULTILINE))


def citations() -> list[tuple[str, str]]:
    """Pairs of a file and the section that it cites, as far as the words behind the comma tell."""
    return [
        (str(path.relative_to(ROOT)), section)
        for folder in CITING_FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for section in CITATION.findall(path.read_text(encoding="utf-8"))
    ]


def test_cited_sections_of_the_rules_exist() -> None:
    cited, existing = citations(), sections()
    assert len(cited) > 40
    wrong = [(file, name) for file, name in cited if name not in existing and name.split()[0] not in existing]
    assert not wrong


def test_every_section_of_the_rules_names_its_source() -> None:
    text = RULES.read_text(encoding="utf-8")
    bodies = re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]
    assert len(bodies) == len(sections())
    assert all(body.strip().startswith("Source: ") for body in bodies)


def test_linked_files_exist() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    assert len(pages) > 10
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^):#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 20
    assert not [(page.name, target) for page, target in links if not (page.parent / target).exists()]
