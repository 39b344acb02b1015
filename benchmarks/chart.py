"""Draws the ratios as horizontal bars in SVG, without a library."""

from __future__ import annotations

from typing import NamedTuple
from xml.sax.saxutils import escape

from benchmarks.measures import Measure, Samples, Spread

WIDTH, LABELS, BARS = 920, 400, 400
"""Pixels: the picture, the column of titles, and a bar that equals raw."""
ROW, BAR, TOP = 26, 16, 64
LONGEST = 1.15
"""The longest bar, as a share of raw; its number has the exact ratio."""


class Bar(NamedTuple):
    """One measure: its share of raw (1: equal) and its ratio."""

    title: str
    share: Spread
    ratio: float


def bars(samples: Samples) -> list[Bar]:
    """Return a bar for every measure with a ratio. If less is better, the share is the reciprocal."""
    found = []
    for measure in Measure:
        ratio = samples.ratio(measure)
        if ratio is not None and ratio.least > 0:
            share = ratio if measure.value.more_is_better else Spread(1 / ratio.middle, 1 / ratio.most, 1 / ratio.least)
            found.append(Bar(measure.value.title, share, ratio.middle))
    return found


def svg(drawn: list[Bar], caption: str) -> str:
    """Return the picture."""
    height = TOP + ROW * len(drawn) + 16
    raw = LABELS + BARS
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="yadtq beside the raw limit">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="22" font-size="15" font-weight="600">yadtq beside the raw limit of Kafka and Redis</text>',
        f'<text x="12" y="42" fill="#555555">{escape(caption)}</text>',
        f'<line x1="{raw}" y1="{TOP - 8}" x2="{raw}" y2="{height - 12}" stroke="#888888" stroke-dasharray="3 3"/>',
        f'<text x="{raw}" y="{TOP - 12}" text-anchor="middle" fill="#555555">raw</text>',
        *(part for place, bar in enumerate(drawn) for part in _row(bar, TOP + ROW * place)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _row(bar: Bar, top: int) -> list[str]:
    middle, text = top + BAR / 2, top + BAR - 4
    least, most = _length(bar.share.least), _length(bar.share.most)
    return [
        f'<text x="{LABELS - 8}" y="{text}" text-anchor="end">{escape(bar.title)}</text>',
        f'<rect x="{LABELS}" y="{top}" width="{_length(bar.share.middle):.1f}" height="{BAR}" rx="2" fill="#3b6fb6"/>',
        f'<line x1="{LABELS + least:.1f}" y1="{middle}" x2="{LABELS + most:.1f}" y2="{middle}" stroke="#14305a"/>',
        f'<text x="{WIDTH - 8}" y="{text}" text-anchor="end">{bar.ratio:.2f}</text>',
    ]


def _length(share: float) -> float:
    return min(share, LONGEST) * BARS
