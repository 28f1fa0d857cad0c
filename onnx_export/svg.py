"""Small line plots as SVG, so that a report needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _KEY = 420, 260, 46, 26, 34, 130
_COLOURS = ("#1b6ca8", "#c8553d", "#3c8d5a", "#8a5aa8", "#b8860b", "#4a4a4a", "#008b8b", "#a0527a")
Points = Sequence[tuple[float, float]]


def lines(title: str, series: Mapping[str, Points], x_label: str, y_label: str, unit: bool = True) -> str:
    """Series name → points, as one plot. unit: both axes run from 0 to 1; else they span the points."""
    points = [p for some in series.values() for p in some]
    x_low, x_high = (0.0, 1.0) if unit else _span([p[0] for p in points])
    y_low, y_high = (0.0, 1.0) if unit else _span([p[1] for p in points])

    def at(x: float, y: float) -> str:
        across = _LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _KEY)
        down = _HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{across:.1f},{down:.1f}"

    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _KEY
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        'font-family="sans-serif" font-size="10">',
        f"<title>{escape(title)}</title>",
        f'<text x="{_LEFT}" y="14" font-size="12">{escape(title)}</text>',
        f'<path d="M{_LEFT},{_TOP} V{bottom} H{right}" fill="none" stroke="#888"/>',
        _text(_LEFT, bottom + 12, _number(x_low)),
        _text(right, bottom + 12, _number(x_high), "end"),
        _text(_LEFT - 4, bottom, _number(y_low), "end"),
        _text(_LEFT - 4, _TOP + 8, _number(y_high), "end"),
        _text((_LEFT + right) / 2, bottom + 26, x_label, "middle"),
        f'<text transform="translate(12,{(_TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]
    for i, (name, some) in enumerate(series.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        path = " ".join(at(*p) for p in some)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = _TOP + 8 + 13 * i
        parts.append(f'<rect x="{right + 8}" y="{y - 7}" width="9" height="3" fill="{colour}"/>')
        parts.append(_text(right + 21, y, name))
    return "".join([*parts, "</svg>"])


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low, low + 1.0)


def _number(value: float) -> str:
    return f"{value:.3g}"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
