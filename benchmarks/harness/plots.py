"""Plots as SVG, written by hand: no plotting library is a dependency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 380, 64, 190, 40, 46
COLOURS = ("#3182bd", "#e6550d", "#31a354", "#756bb1", "#d81b60", "#00acc1", "#8d6e63", "#616161")
Points = Sequence[tuple[float, float]]


def line_plot(title: str, x: str, y: str, lines: Mapping[str, Points]) -> str:
    """Named lines over common axes."""
    every = [point for points in lines.values() for point in points]
    low_x, high_x = _limits([point[0] for point in every])
    low_y, high_y = _limits([point[1] for point in every])
    parts = [_axes(title, x, y, (low_x, high_x), (low_y, high_y))]
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [
            (_place(a, low_x, high_x, LEFT, WIDTH - RIGHT), _vertical(b, low_y, high_y))
            for a, b in points
        ]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        dashes = "" if number < len(COLOURS) else ' stroke-dasharray="5 3"'
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dashes} points="{path}"/>'
        )
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>' for a, b in places]
        at = TOP + 14 + 16 * number
        parts.append(
            f'<rect x="{WIDTH - RIGHT + 12}" y="{at - 9}" width="10" height="10" fill="{colour}"/>'
        )
        parts.append(_text(WIDTH - RIGHT + 27, at, name))
    return _document(parts, HEIGHT)


def bar_plot(title: str, bars: Mapping[str, tuple[float, float]], unit: str) -> str:
    """Horizontal bars from 0: name to mean and SD."""
    height = TOP + 24 * len(bars) + 34
    top = max((mean + sd for mean, sd in bars.values()), default=1.0) or 1.0
    parts = [_text(WIDTH / 2, 22, f"{title} ({unit})", anchor="middle", size=15)]
    left = 190
    for number, (name, (mean, sd)) in enumerate(bars.items()):
        y = TOP + 24 * number
        end = _place(mean, 0, top, left, WIDTH - 90)
        parts.append(
            f'<rect x="{left}" y="{y}" width="{end - left:.1f}" height="16" '
            f'fill="{COLOURS[number % len(COLOURS)]}"/>'
        )
        if sd:
            a, b = (_place(mean + s, 0, top, left, WIDTH - 90) for s in (-sd, sd))
            parts.append(
                f'<line x1="{a:.1f}" x2="{b:.1f}" y1="{y + 8}" y2="{y + 8}" stroke="black"/>'
            )
        parts.append(_text(left - 6, y + 13, name, anchor="end"))
        parts.append(_text(WIDTH - 84, y + 13, f"{mean:.3f}" + (f" ± {sd:.3f}" if sd else "")))
    return _document(parts, height)


def _axes(
    title: str, x: str, y: str, across: tuple[float, float], upwards: tuple[float, float]
) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [
        f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}" '
        'fill="none" stroke="#999"/>',
        _text((LEFT + right) / 2, 22, title, anchor="middle", size=15),
        _text((LEFT + right) / 2, HEIGHT - 10, x, anchor="middle"),
        f'<g transform="translate(16 {(TOP + bottom) / 2}) rotate(-90)">'
        + _text(0, 0, y, anchor="middle")
        + "</g>",
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        value = across[0] + share * (across[1] - across[0])
        parts.append(
            _text(LEFT + share * (right - LEFT), bottom + 16, f"{value:.4g}", anchor="middle")
        )
        value = upwards[0] + share * (upwards[1] - upwards[0])
        height = bottom - share * (bottom - TOP)
        parts.append(_text(LEFT - 6, height + 4, f"{value:.3g}", anchor="end"))
        parts.append(
            f'<line x1="{LEFT}" x2="{right}" y1="{height}" y2="{height}" stroke="#e5e5e5"/>'
        )
    return "\n".join(parts)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _place(value: float, low: float, high: float, start: float, end: float) -> float:
    return start + (value - low) / (high - low) * (end - start)


def _vertical(value: float, low: float, high: float) -> float:
    return _place(value, low, high, HEIGHT - BOTTOM, TOP)


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(words)}</text>"
    )


def _document(parts: Sequence[str], height: int) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
