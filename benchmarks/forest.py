"""A forest plot as SVG: differences with their intervals, one a line, around a line at 0 where there is no effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import asinh
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from benchmarks.paired import Effect

NAME_WIDTH, PANEL_WIDTH, RIGHT, LINE, HEAD, FOOT = 210, 520, 20, 18, 34, 30
TICKS = (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100)
COLORS: Mapping[Effect, str] = {"better": "#1b7837", "nil": "#777777", "worse": "#b2182b"}


@dataclass(frozen=True)
class Row:
    """One difference, in points, negative where something is gained; the ends of its interval; what it comes to."""

    name: str
    mean: float
    low: float
    high: float
    effect: Effect


def draw(panels: Mapping[str, Sequence[Row]]) -> str:
    """Panels below each other, by their titles, on one axis: even around 0, then by magnitudes (arsinh)."""
    ends = [abs(end) for rows in panels.values() for row in rows for end in (row.low, row.high)]
    reach = max([1.0, *ends])
    height = sum(HEAD + LINE * len(rows) + FOOT for rows in panels.values())
    width = NAME_WIDTH + PANEL_WIDTH + RIGHT
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "font-family": "sans-serif",
            "font-size": "12",
        },
    )
    SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": "white"})
    top = 0
    for title, rows in panels.items():
        _panel(root, top, title, rows, reach)
        top += HEAD + LINE * len(rows) + FOOT
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _panel(root: Element, top: int, title: str, rows: Sequence[Row], reach: float) -> None:
    first, bottom = top + HEAD, top + HEAD + LINE * len(rows)
    _text(root, 8, top + 20, title, {"font-weight": "bold"})
    for tick in TICKS:
        if abs(tick) <= reach:
            place = _place(tick, reach)
            _line(root, (place, first), (place, bottom), "#000000" if tick == 0 else "#dddddd")
            _text(root, place, bottom + 14, f"{tick:+d}" if tick else "0", {"text-anchor": "middle"})
    for number, row in enumerate(rows):
        middle = first + LINE * number + LINE / 2
        color = COLORS[row.effect]
        _text(root, NAME_WIDTH - 10, middle + 4, row.name, {"text-anchor": "end"})
        _line(root, (_place(row.low, reach), middle), (_place(row.high, reach), middle), color)
        center = {"cx": f"{_place(row.mean, reach):.1f}", "cy": f"{middle:.1f}", "r": "4", "fill": color}
        SubElement(root, "circle", center)


def _place(value: float, reach: float) -> float:
    """Where a difference stands from the left."""
    return NAME_WIDTH + PANEL_WIDTH / 2 * (1 + asinh(value) / asinh(reach))


def _line(root: Element, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    ends = dict(zip(("x1", "y1", "x2", "y2"), (f"{value:.1f}" for value in (*start, *end)), strict=True))
    SubElement(root, "line", {**ends, "stroke": color})


def _text(root: Element, x: float, y: float, content: str, more: dict[str, str]) -> None:
    SubElement(root, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", **more}).text = content
