"""A page in a browser: it loads from the disk, sorts, filters, opens a case, shows a volume and saves ratings."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.reports.page.builder import SCORES, make_maps, make_report, make_source
from umseg.dataset.io.grid import Geometry
from umseg.reports.page.contents import report_page
from umseg.reports.page.pictures.planes import CasePictures, draw_planes
from umseg.reports.page.pictures.volumes import draw_volumes

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<img src=x onerror=alert(1)>"


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_reader_finds_nothing_wrong(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="playwright is not installed")
    from tools.look_at_report import look

    assert CHROMIUM is not None
    maps = make_maps()
    geometry = Geometry((24, 20, 8), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    pictures = CasePictures(draw_planes(maps, 10**6), draw_volumes(maps, geometry, 10**6))
    report = make_report(make_source(EVIL, {**SCORES, EVIL: [(0.1, 0.2), (0.1, 0.2)]}), notes=(EVIL,))
    report = report.with_pictures(dict.fromkeys(report.order, pictures), (EVIL,))
    page = tmp_path / "page.html"
    page.write_text(report_page(report), encoding="utf-8")
    found = look(page, CHROMIUM)
    assert found["problems"] == []
    assert found["colours_in_viewer"] > 16
