"""Figures as SVG, for files that stand alone: curves by epoch, and a reliability diagram."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from app.api.schemas import EpochView
from trainer.report import Calibration

WIDTH, HEIGHT = 640, 200
LEFT, TOP, BOTTOM = 56, 22, 26
TICKS = 4
COLOURS = ("#0a6ebd", "#ad4700")
INK, GRID = "#5b6773", "#d5dbe1"
"""Grey on white and on dark alike."""


@dataclass(frozen=True)
class Line:
    """Points (x, y) by rising x under a name."""

    name: str
    points: Sequence[tuple[float, float]]


def curves(epochs: Sequence[EpochView]) -> str:
    """Loss and accuracy by epoch, training beside validation."""

    def line(name: str, field: str) -> Line:
        return Line(name, [(one.epoch, getattr(one, field)) for one in epochs])

    loss = [line("training", "train_loss"), line("validation", "validation_loss")]
    accuracy = [line("training", "train_accuracy"), line("validation", "validation_accuracy")]
    panels = [_panel("Loss", loss, 0), _panel("Accuracy", accuracy, HEIGHT)]
    return _svg(panels, 2 * HEIGHT, "Loss and accuracy by epoch")


def reliability(calibration: Calibration) -> str:
    """Accuracy by confidence, beside what it would be were the probabilities true."""
    found = [(one.confidence, one.accuracy) for one in calibration.bins if one.confidence is not None]
    measured = Line("accuracy", [(x, y) for x, y in found if y is not None])
    panel = _panel("Accuracy by confidence", [measured, Line("were they true", [(0.0, 0.0), (1.0, 1.0)])], 0)
    return _svg([panel], HEIGHT, "Accuracy by confidence")


def _svg(panels: Sequence[str], height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="11">'
        + "".join(panels)
        + "</svg>"
    )


def _panel(title: str, lines: Sequence[Line], top: int) -> str:
    """A plot of its own scale, `top` pixels down."""
    xs = [x for line in lines for x, _ in line.points] or [0.0, 1.0]
    ys = [y for line in lines for _, y in line.points] or [0.0, 1.0]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    wide, high = WIDTH - LEFT - 12, HEIGHT - TOP - BOTTOM

    def across(x: float) -> float:
        return LEFT + wide * (x - x0) / ((x1 - x0) or 1)

    def up(y: float) -> float:
        return top + TOP + high * (1 - (y - y0) / ((y1 - y0) or 1))

    parts = [_text(LEFT, top + 14, title, INK, weight="600")]
    for tick in range(TICKS + 1):
        value, place = y0 + (y1 - y0) * tick / TICKS, x0 + (x1 - x0) * tick / TICKS
        parts.append(f'<path d="M{LEFT} {up(value):.1f}H{WIDTH - 12}" stroke="{GRID}" fill="none"/>')
        parts.append(_text(LEFT - 6, up(value) + 4, f"{value:.3g}", INK, anchor="end"))
        parts.append(_text(across(place), top + HEIGHT - 8, f"{place:.3g}", INK, anchor="middle"))
    for line, colour, at in zip(lines, COLOURS, (LEFT + 190, LEFT + 300), strict=True):
        points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts.append(f'<path d="M{at} {top + 10}h18" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(_text(at + 24, top + 14, line.name, INK))
    return "".join(parts)


def _text(x: float, y: float, words: str, fill: str, *, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )
