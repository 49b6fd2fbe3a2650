"""A preview: panels beside each other on black, and a legend on their right."""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from numpy.typing import NDArray
from PIL import Image

from umseg.common.files import atomic_path
from umseg.reports.pictures import plain, write_edges
from umseg.reports.preview.colouring import paint
from umseg.reports.preview.contents import Preview
from umseg.reports.preview.layout import Place, arrange
from umseg.reports.preview.planes import Panel, Plane

HEIGHT, WIDTH = 900, 1200
"""Room for the panels, in pixels."""
_MARGIN, _GAP, _CAPTION, _TITLE = 16, 12, 20, 54
_ROW, _SWATCH = 21, 13
_MOST_LETTERS, _MOST_LETTERS_OF_TITLE = 34, 80
_DPI = 100
_BACKGROUND, _INK, _FAINT = "#111418", "#eceff3", "#98a2ae"
_FAMILY = "DejaVu Sans"
"""A font that comes with matplotlib."""
_SIZE, _TITLE_SIZE = 9.0, 14.0
_SQUARE = "\N{WHITE SQUARE}"
_FONT: dict[str, Any] = {"family": _FAMILY, "usetex": False, "parse_math": False}
"""Text is drawn as it is, whatever matplotlib's settings are."""
_MARK: dict[str, Any] = {"color": _FAINT, "linewidth": 1, "linestyle": "-", "marker": "", "solid_capstyle": "butt"}
"""Short lines at the edges of a panel, where the other planes cut it."""

_one_at_a_time = threading.Lock()


def draw_preview(path: Path, preview: Preview) -> None:
    """Draw a preview as a PNG file.

    Raises:
        UserError: The file cannot be written.
    """
    places, (height, width) = arrange([panel.size for panel in preview.panels], (HEIGHT, WIDTH), _GAP, _CAPTION)
    pictures = [
        paint(panel, place, preview.colours, preview.window)
        for panel, place in zip(preview.panels, places, strict=True)
    ]
    rows = len(preview.legend) + bool(preview.note)
    title = _shortened(preview.title, _MOST_LETTERS_OF_TITLE)
    with _one_at_a_time:
        side = _legend_width(preview)
        wide = max(width + (_GAP + side if side else 0), _text_width(preview.subtitle), _text_width(title, _TITLE_SIZE))
        total = _TITLE + max(height, rows * _ROW) + _MARGIN, 2 * _MARGIN + wide
        figure = Figure(figsize=(total[1] / _DPI, total[0] / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
        canvas = FigureCanvasAgg(figure)
        page = _Page(figure, total)
        page.write(_MARGIN, 24, title, size=_TITLE_SIZE)
        page.write(_MARGIN, 43, preview.subtitle, size=_SIZE, colour=_FAINT)
        for panel, place, picture in zip(preview.panels, places, pictures, strict=True):
            page.show(panel, place, picture)
        _write_legend(page, preview, _MARGIN + width + _GAP, side)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


class _Page:
    """A figure whose places are pixels from the top left corner."""

    def __init__(self, figure: Figure, size: tuple[int, int]) -> None:
        self._figure = figure
        self._height, self._width = size

    def write(self, x: float, y: float, text: str, *, size: float, colour: str = _INK, **more: Any) -> None:
        """Write a line of text; ``y`` is its baseline."""
        self._figure.text(
            x / self._width, 1 - y / self._height, _drawable(text), fontsize=size, color=colour, **_FONT, **more
        )

    def show(self, panel: Panel, place: Place, picture: NDArray[np.uint8]) -> None:
        """A panel with its title, the letters of the patient's sides, and marks where the other planes are."""
        top, left = _TITLE + place.top, _MARGIN + place.left
        self.write(left, top - 6, panel.title, size=_SIZE, colour=_FAINT)
        h, w = self._height, self._width
        axes = self._figure.add_axes((left / w, 1 - (top + place.height) / h, place.width / w, place.height / h))
        axes.imshow(picture, interpolation="nearest", origin="upper", aspect="auto", extent=(0, 1, 1, 0))
        axes.set_axis_off()
        write_edges(axes, panel.edges, **_FONT)
        if isinstance(panel, Plane) and panel.marks is not None:
            row, column = panel.marks
            for ends in ((0, 0.03), (0.97, 1)):
                axes.plot(ends, (row, row), **_MARK)
                axes.plot((column, column), ends, **_MARK)
            axes.set(xlim=(0, 1), ylim=(1, 0))

    def swatch(self, top: float, left: float, colour: tuple[float, float, float]) -> None:
        """A small square."""
        h, w = self._height, self._width
        corner = (left / w, 1 - (top + _SWATCH) / h)
        self._figure.add_artist(Rectangle(corner, _SWATCH / w, _SWATCH / h, facecolor=colour, linewidth=0))


def _write_legend(page: _Page, preview: Preview, left: float, width: float) -> None:
    top = float(_TITLE)
    for entry in preview.legend:
        page.swatch(top + 1, left, entry.colour)
        page.write(left + _SWATCH + 8, top + 12, _shortened(entry.name), size=_SIZE)
        page.write(left + width, top + 12, entry.amount, size=_SIZE, colour=_FAINT, ha="right")
        top += _ROW
    page.write(left, top + 12, preview.note, size=_SIZE, colour=_FAINT)


def _legend_width(preview: Preview) -> int:
    """Width of the legend in pixels; 0 where there is none."""
    if not preview.legend:
        return 0
    names = max(_text_width(_shortened(entry.name)) for entry in preview.legend)
    amounts = max(_text_width(entry.amount) for entry in preview.legend)
    return max(_SWATCH + 8 + names + 20 + amounts, _text_width(preview.note))


def _text_width(text: str, size: float = _SIZE) -> int:
    """Width of a line of text in pixels."""
    if not text:
        return 0
    shape = TextPath(
        (0, 0), plain(_drawable(text)), size=size * _DPI / 72, prop=FontProperties(family=_FAMILY), usetex=False
    )
    return math.ceil(float(shape.get_extents().x1))


def _shortened(name: str, most: int = _MOST_LETTERS) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _drawable(text: str) -> str:
    """A text in which squares stand for letters that the font does not have."""
    letters = _letters()
    return "".join(letter if ord(letter) in letters else _SQUARE for letter in text)


@lru_cache(maxsize=1)
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=_FAMILY))).get_charmap())
