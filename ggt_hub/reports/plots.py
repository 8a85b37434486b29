"""Plots as SVG markup that follows the page's colours, so that a report needs no plotting library."""

from collections.abc import Sequence
from html import escape

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 560, 250, 44, 44, 34


def histogram(values: Sequence[float], title: str, bins: int = 20) -> str:
    """How values are spread, with zero marked.

    Args:
        values: finite numbers, at least one.
        title: the plot's heading; escaped.
        bins: bars to draw.

    Returns:
        An `<svg>` element.
    """
    counts, edges = np.histogram(values, bins=bins)
    width, height = _WIDTH - 2 * _LEFT, _HEIGHT - _TOP - _BOTTOM
    step = width / bins

    def x_of(value: float) -> float:
        return _LEFT + (value - edges[0]) / (edges[-1] - edges[0]) * width

    bars = [
        f'<rect x="{_LEFT + i * step + 1:.1f}" y="{_TOP + height * (1 - n / counts.max()):.1f}" '
        f'width="{step - 2:.1f}" height="{height * n / counts.max():.1f}" rx="2" fill="var(--accent)">'
        f"<title>{edges[i]:.3g} to {edges[i + 1]:.3g}: {n}</title></rect>"
        for i, n in enumerate(counts)
        if n
    ]
    base = _TOP + height
    marks = [
        f'<text x="{x_of(value):.1f}" y="{base + 20}" text-anchor="middle" font-size="12" '
        f'fill="var(--soft)">{value:.3g}</text>'
        for value in (edges[0], (edges[0] + edges[-1]) / 2, edges[-1])
    ]
    if edges[0] < 0 < edges[-1]:
        marks.append(
            f'<line x1="{x_of(0):.1f}" x2="{x_of(0):.1f}" y1="{_TOP - 6}" y2="{base}" stroke="var(--ink)" '
            'stroke-dasharray="3 3"/>'
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="{escape(title)}">'
        f'<text x="{_LEFT}" y="26" font-size="14" font-weight="600" fill="var(--ink)">{escape(title)}</text>'
        f'{"".join(bars)}<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{base}" y2="{base}" stroke="var(--line)"/>'
        f"{''.join(marks)}</svg>"
    )
