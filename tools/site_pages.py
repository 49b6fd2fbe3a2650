"""Pages of the site that are made of files in the root of the repository; a hook of MkDocs.

The README's sections about using umseg become the tutorial, and the others the home page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = ("Use", "Data sets of other forms", "Plans", "Models")
PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""File in the root to its page."""
ELSEWHERE = {"CODE_OF_CONDUCT.md", "LICENSE", "examples/plugin"}
"""Files without a page, to which links become plain text."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, when MkDocs has collected those in ``docs/``."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def pages() -> dict[str, str]:
    """Name to content of every page that is not in ``docs/``."""
    home, tutorial = split_readme((ROOT / "README.md").read_text(encoding="utf-8"))
    made = {"index.md": home, "tutorial.md": tutorial}
    made |= {page: (ROOT / name).read_text(encoding="utf-8") for name, page in PAGES.items()}
    return {name: relink(text) for name, text in made.items()}


def split_readme(text: str) -> tuple[str, str]:
    """The home page and the tutorial.

    Raises:
        ValueError: The README lacks a section of the tutorial.
    """
    introduction, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    titles = [section.splitlines()[0].removeprefix("## ") for section in sections]
    missing = set(TUTORIAL) - set(titles)
    if missing:
        raise ValueError(f"README.md lacks the sections {sorted(missing)}, which make the tutorial")
    by_title = dict(zip(titles, sections, strict=True))
    home = introduction + "".join(section for title, section in by_title.items() if title not in TUTORIAL)
    return home, "# Tutorial\n\n" + "".join(by_title[title] for title in TUTORIAL)


def relink(text: str) -> str:
    """Links from the root as links from ``docs/``."""

    def link(found: re.Match[str]) -> str:
        label, target = found[1], found[2]
        if target in ELSEWHERE:
            return label
        return f"[{label}]({PAGES.get(target, target.removeprefix('docs/'))})"

    return re.sub(r"\[([^\]]*)\]\(([^):]+)\)", link, text)
