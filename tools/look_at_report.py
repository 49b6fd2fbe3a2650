"""Look at a page of ``umseg report`` as a reader does, in headless Chromium without a network.

    python tools/look_at_report.py report.html --axe node_modules/axe-core/axe.min.js --screenshots shots

It needs playwright (PyPI) and a Chromium (``apt-get install chromium``). It loads the page from the disk, sorts,
filters, opens a case, flickers, rates, saves the ratings and opens the viewer. It prints what it found as JSON and ends
with status 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

MOST_SECONDS = 3.0
"""A page opens in less."""
_ARGUMENTS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at a page; the exit status says whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js of the npm package axe-core")
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of the page")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser")
    options = parser.parse_args(arguments)
    found = look(options.page, options.chromium, options.axe, options.screenshots)
    print(json.dumps(found, indent=2))
    return 1 if found["problems"] else 0


def look(page_file: Path, chromium: str, axe: Path | None = None, screenshots: Path | None = None) -> dict[str, Any]:
    """What a reader finds in a page.

    Args:
        page_file: The page.
        chromium: Path of the browser.
        axe: ``axe.min.js``; None leaves the check of accessibility out.
        screenshots: Folder for pictures; None takes none.

    Returns:
        Measurements by name, and under ``problems`` a sentence about everything that is wrong.
    """
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        context = browser.new_context(viewport={"width": 1360, "height": 900}, offline=True)
        page = context.new_page()
        page.on("console", lambda message: _note_error(message, problems))
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on("dialog", lambda dialog: problems.append(f"a text of the data ran as a script: {dialog.message}"))
        outside: list[str] = []
        page.on("request", lambda request: outside.append(request.url))
        start = time.perf_counter()
        page.goto(page_file.resolve().as_uri(), wait_until="load")
        seconds = time.perf_counter() - start
        shot = _Shots(page, screenshots)
        found: dict[str, Any] = {"seconds_to_load": round(seconds, 2), "megabytes": page_file.stat().st_size / 1e6}
        if seconds > MOST_SECONDS:
            problems.append(f"the page took {seconds:.1f} s to load")
        shot("top")
        if page.locator("#case-table").count():
            found |= _table(page, problems)
            found |= _case(page, problems, shot) if page.locator("#case-dialog").count() else {}
        page.evaluate("window.scrollTo(0, 0)")
        shot("whole", whole=True)
        if axe is not None:
            found |= _accessible(page, axe, problems)
        problems += [f"loaded from the network: {url}" for url in outside if url.startswith("http")]
        browser.close()
    return {**found, "problems": problems}


def _note_error(message: ConsoleMessage, problems: list[str]) -> None:
    if message.type == "error":
        problems.append(f"console: {message.text}")


class _Shots:
    """Takes pictures of a page into a folder, if there is one."""

    def __init__(self, page: Page, folder: Path | None) -> None:
        self._page, self._folder = page, folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str, *, whole: bool = False) -> None:
        if self._folder is not None:
            self._page.screenshot(path=self._folder / f"{name}.png", full_page=whole)


def _visible_rows(page: Page) -> list[str]:
    rows = page.locator("#case-table tbody tr:not([hidden])")
    return [str(name) for name in rows.evaluate_all("rows => rows.map(row => row.dataset.case)")]


def _table(page: Page, problems: list[str]) -> dict[str, Any]:
    """Sort by name in both directions, and filter by the first name."""
    head = page.locator("#case-table thead button").first
    head.click()
    rising = _visible_rows(page)
    head.click()
    falling = _visible_rows(page)
    if rising != sorted(rising) or falling != sorted(falling, reverse=True):
        problems.append("the table is not sorted after a click on its heading")
    field = page.locator("#filter-name, [data-filter]")
    field.fill(rising[0])
    kept = _visible_rows(page)
    if not kept or any(rising[0].lower() not in name.lower() for name in kept):
        problems.append("the filter by name does not work")
    field.fill("")
    if page.locator("#order").count():
        page.select_option("#order", "0")
    return {"cases": len(rising), "kept_by_filter": len(kept)}


def _case(page: Page, problems: list[str], shot: _Shots) -> dict[str, Any]:
    """Open the first case, flicker, rate it and write a note, see the volume, and download the ratings."""
    found: dict[str, Any] = {}
    page.locator(".card .open").first.click()
    if not page.locator("#case-dialog[open]").count():
        problems.append("a case does not open")
        return found
    name = page.locator("#dialog-title").inner_text()
    if page.locator("#stage img").count():
        before = page.locator("#stage .planes").get_attribute("data-shown")
        page.keyboard.press("f")
        after = page.locator("#stage .planes").get_attribute("data-shown")
        found["flickers"] = [before, after]
        if before == after:
            problems.append("the layers do not flicker")
        page.keyboard.press("f")
    page.wait_for_timeout(300)
    shot("case")
    page.keyboard.press("2")
    page.fill("#note", 'a note <b>with</b> "signs" & more')
    if page.locator("#view-3d").is_visible():
        page.click("#view-3d")
        page.wait_for_selector("#canvas[data-case]", timeout=60_000)
        page.wait_for_timeout(1500)
        found["colours_in_viewer"] = _colours(page)
        page.locator("#canvas").scroll_into_view_if_needed()
        shot("viewer")
        if found["colours_in_viewer"] < 16:
            problems.append("the viewer is blank")
    page.locator("#case-dialog").evaluate("dialog => dialog.scrollTop = 0")
    page.keyboard.press("Escape")
    if page.locator("#case-dialog[open]").count():
        page.click("#close")
    with page.expect_download() as download:
        page.click("#download")
    saved = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    entries = [entry for entry in saved["ratings"] if entry["case"] == name]
    found["ratings"] = entries
    if [entry["rating"] for entry in entries] != [2] or "<b>" not in entries[0]["note"]:
        problems.append("the ratings are not saved")
    page.reload()
    if "rated 2" not in (page.locator(".card", has_text=name).first.locator(".rated").text_content() or ""):
        problems.append("the ratings are gone after the page is opened again")
    return found


def _colours(page: Page) -> int:
    """Number of colours in a screenshot of the viewer: its own buffer may be empty between two frames."""
    picture = Image.open(io.BytesIO(page.locator("#canvas").screenshot())).convert("RGB")
    return len(picture.getcolors(maxcolors=2**24) or [])


def _accessible(page: Page, axe: Path, problems: list[str]) -> dict[str, Any]:
    """The findings of axe-core on the page and on an open case."""
    found: dict[str, int] = {}
    for state in ("page", "case"):
        if state == "case":
            if not page.locator(".card .open").count():
                continue
            page.locator(".card .open").first.click()
        page.evaluate(axe.read_text(encoding="utf-8"))
        for violation in page.evaluate("async () => (await axe.run()).violations"):
            found[violation["impact"]] = found.get(violation["impact"], 0) + len(violation["nodes"])
            node = violation["nodes"][0]
            reason = node["any"][0]["message"] if node["any"] else ""
            text = f"axe, {state}: {violation['impact']} {violation['id']}: {node['html'][:160]} {reason}"
            if violation["impact"] in ("serious", "critical"):
                problems.append(text)
            else:
                print(text, file=sys.stderr)
    return {"accessibility": found}


if __name__ == "__main__":
    sys.exit(main())
