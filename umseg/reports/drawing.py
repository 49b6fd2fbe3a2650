"""Pictures of U-Nets as SVG, with one box per stage, the encoder on the left and the decoder on the right."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from umseg.architectures.registry import NETWORKS, network_spec
from umseg.common.errors import UserError
from umseg.common.files import write_text
from umseg.dataset.description import DatasetDescription
from umseg.planning.plan import Configuration
from umseg.reports.diagram import Diagram, Level, Part, make_diagram

_COLOURS = {"convolution": "#dbeafe", "residual": "#d9f2e1", "mamba": "#ffd8a8"}
_INK, _LINE = "#1f2933", "#52606d"

# All sizes below are in pixels.
_MARGIN, _INDENT = 20, 56
_BOX, _BETWEEN, _HEAD = 290, 70, 140
_TITLE, _PART, _PAD = 26, 26, 6
_GAP = 44
_ENCODER = _MARGIN + _INDENT
_DECODER = _ENCODER + _BOX + _BETWEEN
_HEADS = _DECODER + _BOX + 40
_WIDTH = _HEADS + _HEAD + _MARGIN


def draw_models(
    folder: Path, configuration: Configuration, description: DatasetDescription
) -> tuple[list[Path], dict[str, str]]:
    """Draw every U-Net that can be built on a plan, each into its own ``<model>.svg``.

    Args:
        folder: Folder that receives the pictures.
        configuration: Configuration of the plan.
        description: Channels and classes of the data set.

    Returns:
        The files of the pictures, and for every model without a picture the reason.

    Raises:
        UserError: The folder is not writable.
    """
    drawn, missing = [], {}
    for model in NETWORKS:
        try:
            if network_spec(model).describe is None:
                missing[model] = "its layers are not described"
                continue
            diagram = make_diagram(model, configuration, description.num_channels, description.num_classes)
        except UserError as error:
            missing[model] = error.problem
            continue
        path = Path(folder) / f"{model}.svg"
        write_text(path, draw(diagram))
        drawn.append(path)
    return drawn, missing


def draw(diagram: Diagram) -> str:
    """The diagram as an SVG document; the same diagram always gives the same text."""
    tops, top = [], _MARGIN + 84
    for level in diagram.levels:
        tops.append(top)
        top += max(_height(level.encoder), _height(level.decoder)) + _GAP
    height = top - _GAP + 50
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "width": str(_WIDTH),
            "height": str(height),
            "font-family": "Helvetica, Arial, sans-serif",
            "font-size": "13",
            "fill": _INK,
        },
    )
    ElementTree.SubElement(root, "title").text = diagram.title
    arrow = {"id": "arrow", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", "markerWidth": "8", "markerHeight": "8"}
    marker = ElementTree.SubElement(ElementTree.SubElement(root, "defs"), "marker", {**arrow, "orient": "auto"})
    ElementTree.SubElement(marker, "path", {"d": "M0,0 L8,4 L0,8 z", "fill": _LINE})
    _rectangle(root, 0, 0, _WIDTH, height, "#ffffff")
    _text(root, _MARGIN, _MARGIN + 10, diagram.title, size=16, bold=True)
    _text(root, _ENCODER + _BOX / 2, _MARGIN + 50, diagram.image, middle=True)
    _arrow(root, (_ENCODER + _BOX / 2, _MARGIN + 56), (_ENCODER + _BOX / 2, tops[0]))
    for index, level in enumerate(diagram.levels):
        _draw_level(root, level, tops[index])
        if index:
            _join(root, diagram.levels[index - 1], level, tops[index - 1], tops[index])
    _text(root, _MARGIN, height - _MARGIN, diagram.note)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _draw_level(root: ElementTree.Element, level: Level, top: int) -> None:
    _box(root, _ENCODER, top, level.title, level.encoder)
    row = top + 13
    if level.decoder:
        _box(root, _DECODER, top, level.title, level.decoder)
    if level.skip:
        _arrow(root, (_ENCODER + _BOX, row), (_DECODER, row))
        _text(root, _ENCODER + _BOX + _BETWEEN / 2, row - 5, "skip", size=12, middle=True)
    if level.head:
        start = _DECODER if level.decoder else _ENCODER
        _arrow(root, (start + _BOX, row), (_HEADS, row))
        _rectangle(root, _HEADS, top, _HEAD, _TITLE, _COLOURS["convolution"], outlined=True)
        _text(root, _HEADS + _HEAD / 2, row + 5, level.head, size=12, middle=True)


def _join(root: ElementTree.Element, above: Level, below: Level, above_top: int, below_top: int) -> None:
    """The arrows between two levels: down in the encoder, up in the decoder."""
    left, right = _ENCODER + _BOX / 2, _DECODER + _BOX / 2
    if below.down:
        start = above_top + _height(above.encoder)
        _arrow(root, (left, start), (left, below_top))
        _text(root, left + 8, below_top - _GAP / 2 + 4, below.down, size=12)
    if above.up:
        end = above_top + _height(above.decoder)
        if below.decoder:
            _arrow(root, (right, below_top), (right, end))
        else:
            corner = below_top + 13
            _arrow(root, (_ENCODER + _BOX, corner), (right, corner), (right, end))
        _text(root, right + 8, below_top - _GAP / 2 + 4, above.up, size=12)


def _height(parts: tuple[Part, ...]) -> int:
    return _TITLE + _PART * len(parts) + _PAD if parts else 0


def _box(root: ElementTree.Element, left: int, top: int, title: str, parts: tuple[Part, ...]) -> None:
    _rectangle(root, left, top, _BOX, _height(parts), "#f5f7fa", outlined=True)
    _text(root, left + 10, top + 18, title, bold=True)
    for index, part in enumerate(parts):
        y = top + _TITLE + index * _PART
        _rectangle(root, left + _PAD, y, _BOX - 2 * _PAD, _PART - 4, _COLOURS[part.kind])
        _text(root, left + 2 * _PAD, y + 15, part.text, size=12)


def _rectangle(
    root: ElementTree.Element, x: float, y: float, width: float, height: float, fill: str, *, outlined: bool = False
) -> None:
    sizes = {"x": x, "y": y, "width": width, "height": height}
    attributes = {name: f"{value:g}" for name, value in sizes.items()} | {"fill": fill}
    if outlined:
        attributes |= {"stroke": _LINE, "rx": "4"}
    ElementTree.SubElement(root, "rect", attributes)


def _text(
    root: ElementTree.Element,
    x: float,
    y: float,
    text: str,
    *,
    size: int | None = None,
    bold: bool = False,
    middle: bool = False,
) -> None:
    attributes = {"x": f"{x:g}", "y": f"{y:g}"}
    if size:
        attributes["font-size"] = str(size)
    if bold:
        attributes["font-weight"] = "bold"
    if middle:
        attributes["text-anchor"] = "middle"
    ElementTree.SubElement(root, "text", attributes).text = text


def _arrow(root: ElementTree.Element, *points: tuple[float, float], head: bool = True) -> None:
    attributes = {
        "points": " ".join(f"{x:g},{y:g}" for x, y in points),
        "fill": "none",
        "stroke": _LINE,
        "stroke-width": "1.5",
    }
    if head:
        attributes["marker-end"] = "url(#arrow)"
    ElementTree.SubElement(root, "polyline", attributes)
