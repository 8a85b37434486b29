"""Plots as SVG markup that follows the page's colours, so that a report needs no plotting library."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 560, 250, 44, 44, 34
_LIMIT = 16  # pixels between the words of limits


def interval_plot(intervals: Sequence[tuple[str, float, float, float]], title: str) -> str:
    """Means with their intervals, one below the other, with zero marked.

    Args:
        intervals: label, mean, low and high of each; finite numbers, at least one.
        title: the plot's heading; escaped.

    Returns:
        An `<svg>` element.
    """
    labels_width, row = 150, 24
    left, right = _LEFT + labels_width, _WIDTH - _LEFT
    lowest = min(0.0, *(low for _, _, low, _ in intervals))
    highest = max(0.0, *(high for _, _, _, high in intervals))
    span = highest - lowest or 1.0
    base = _TOP + row * len(intervals)

    def x_of(value: float) -> float:
        return left + (value - lowest) / span * (right - left)

    rows = []
    for y, (label, mean, low, high) in zip(range(_TOP + row // 2, base, row), intervals, strict=True):
        tip = f"<title>{escape(label)}: {mean:.3g} [{low:.3g}, {high:.3g}]</title>"
        rows += [
            _text(left - 12, y + 4, label, "end", "ink"),
            f'<line x1="{x_of(low):.1f}" x2="{x_of(high):.1f}" y1="{y}" y2="{y}" stroke="var(--accent)" '
            f'stroke-width="3" stroke-linecap="round">{tip}</line>',
            f'<circle cx="{x_of(mean):.1f}" cy="{y}" r="5" fill="var(--accent)">{tip}</circle>',
        ]
    marks = [_text(x_of(value), base + 20, f"{value:.3g}") for value in dict.fromkeys((lowest, 0.0, highest))]
    return _svg(title, base + _BOTTOM, [_zero(x_of(0), _TOP, base), *rows, *marks])


def histogram(values: Sequence[float], title: str, bins: int = 20, limits: Mapping[str, float] = {}) -> str:
    """How values are spread, with zero marked, and limits.

    Args:
        values: finite numbers, at least one.
        title: the plot's heading; escaped.
        bins: bars to draw.
        limits: lines to draw, by what is written beside them.

    Returns:
        An `<svg>` element.
    """
    reach = [*values, *limits.values()]
    counts, edges = np.histogram(values, bins=bins, range=(min(reach), max(reach)))
    top = _TOP + _LIMIT * max(0, len(limits) - 1)  # each limit has a line for its words
    width, height, base = _WIDTH - 2 * _LEFT, _HEIGHT - _TOP - _BOTTOM, top + _HEIGHT - _TOP - _BOTTOM
    step = width / bins

    def x_of(value: float) -> float:
        return _LEFT + (value - edges[0]) / (edges[-1] - edges[0]) * width

    bars = [
        f'<rect x="{_LEFT + i * step + 1:.1f}" y="{top + height * (1 - n / counts.max()):.1f}" '
        f'width="{step - 2:.1f}" height="{height * n / counts.max():.1f}" rx="2" fill="var(--accent)">'
        f"<title>{edges[i]:.3g} to {edges[i + 1]:.3g}: {n}</title></rect>"
        for i, n in enumerate(counts)
        if n
    ]
    marks = [
        _text(x_of(value), base + 20, f"{value:.3g}")
        for value in (edges[0], (edges[0] + edges[-1]) / 2, edges[-1])
    ]
    if edges[0] < 0 < edges[-1]:
        marks.append(_zero(x_of(0), top, base))
    for row, (label, value) in enumerate(limits.items()):
        x, anchor = x_of(value), "end" if x_of(value) > _WIDTH / 2 else "start"
        y = _TOP + _LIMIT * row
        place = f'x1="{x:.1f}" x2="{x:.1f}" y1="{y - 14}" y2="{base}"'
        marks.append(
            f'<line {place} stroke="var(--ink)" stroke-width="2"><title>{escape(label)}</title></line>'
        )
        marks.append(_text(x + (-6 if anchor == "end" else 6), y - 4, f"{label} {value:.3g}", anchor, "ink"))
    line = f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{base}" y2="{base}" stroke="var(--line)"/>'
    return _svg(title, base + _BOTTOM, [*bars, line, *marks])


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "soft") -> str:
    place = f'x="{x:.1f}" y="{y}" text-anchor="{anchor}"'
    return f'<text {place} font-size="12" fill="var(--{colour})">{escape(text)}</text>'


def _zero(x: float, top: float, base: float) -> str:
    place = f'x1="{x:.1f}" x2="{x:.1f}" y1="{top - 6}" y2="{base}"'
    return f'<line {place} stroke="var(--ink)" stroke-dasharray="3 3"/>'


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="img" aria-label="{escape(title)}">'
        f'<text x="{_LEFT}" y="26" font-size="14" font-weight="600" fill="var(--ink)">{escape(title)}</text>'
        f"{''.join(parts)}</svg>"
    )
