"""The shape of a data set as SVG that takes its colours and its font from the page it stands in.

Written by hand: a bar chart is a few rectangles, and matplotlib's import alone takes longer than the whole data check.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 440, 220
_LEFT, _BOTTOM, _TOP, _RIGHT = 46, 42, 12, 26
_ROW = 42
_TEXT = "font-size:13px;fill:var(--soft,#555)"
_TICKS = 4


def histogram(edges: Sequence[int], counts: Sequence[int], *, unit: str, limit: int = 0) -> str:
    """Return bars between the edges, each as wide as the others; `limit` is a value to mark with a line."""
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    each, most = wide / max(1, len(counts)), max(counts, default=1) or 1
    parts = []
    for place, number in enumerate(counts):
        tall = high * number / most
        told = f"{edges[place]:,} to {edges[place + 1] - 1:,} {unit}: {number:,}"
        parts.append(
            f'<rect x="{_LEFT + place * each:.1f}" y="{_TOP + high - tall:.1f}" width="{max(1, each - 1):.1f}" '
            f'height="{tall:.1f}" style="fill:var(--one,#0b62c4)"><title>{escape(told)}</title></rect>'
        )
    step = max(1, len(counts) // _TICKS)
    for place in range(0, len(edges), step):
        parts.append(_text(_LEFT + place * each, _HEIGHT - 22, f"{edges[place]:,}"))
    parts += [_text(_LEFT + wide / 2, _HEIGHT - 4, unit), _text(_LEFT - 8, _TOP + 10, f"{most:,}", anchor="end")]
    parts.append(_line(_LEFT, _TOP + high, _WIDTH - _RIGHT, _TOP + high))
    if edges and edges[0] < limit < edges[-1]:
        inside = next(place for place in range(len(counts)) if limit < edges[place + 1])
        part = (limit - edges[inside]) / (edges[inside + 1] - edges[inside])
        x = _LEFT + (inside + part) * each
        parts.append(_line(x, _TOP, x, _TOP + high, colour="--bad,#a4201d"))
        anchor, away = ("end", -5) if x > _WIDTH / 2 else ("start", 5)
        parts.append(_text(x + away, _TOP + 10, f"limit {limit:,}", anchor=anchor))
    return _svg("".join(parts), height=_HEIGHT)


def bars(rows: Sequence[tuple[str, float]]) -> str:
    """Return one bar a row, below its name and before its share, which is from 0 to 1."""
    wide = _WIDTH - 80
    most = max((share for _name, share in rows), default=1.0) or 1.0
    parts = []
    for place, (name, share) in enumerate(rows):
        y, long = _TOP + place * _ROW, max(2.0, wide * share / most)
        parts.append(_text(0, y + 10, name, anchor="start"))
        parts.append(f'<rect x="0" y="{y + 16}" width="{long:.1f}" height="14" style="fill:var(--two,#c2570c)"/>')
        parts.append(_text(long + 6, y + 28, f"{share:.1%}", anchor="start"))
    return _svg("".join(parts), height=_TOP + _ROW * len(rows))


def parts_of(shares: Sequence[tuple[str, int]], *, unit: str) -> str:
    """Return one bar divided into parts, with their names, numbers and shares below it."""
    total = sum(number for _name, number in shares) or 1
    wide, x, parts = _WIDTH, 0.0, []
    colours = ("--one,#0b62c4", "--line,#bbb", "--bad,#a4201d", "--four,#8a3fa8")
    for place, (name, number) in enumerate(shares):
        width = wide * number / total
        parts.append(
            f'<rect x="{x:.1f}" y="{_TOP}" width="{width:.1f}" height="28" style="fill:var({colours[place]})"/>'
        )
        y = _TOP + 52 + place * 22
        parts.append(f'<rect x="0" y="{y - 11}" width="12" height="12" style="fill:var({colours[place]})"/>')
        parts.append(_text(20, y, f"{name}: {number:,} {unit}, {number / total:.1%}", anchor="start"))
        x += width
    return _svg("".join(parts), height=_TOP + 52 + 22 * len(shares))


def _text(x: float, y: float, said: str, *, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{_TEXT}">{escape(said)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, *, colour: str = "--soft,#555") -> str:
    style = f"stroke:var({colour});stroke-width:1.5"
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" style="{style}"/>'


def _svg(inside: str, *, height: int) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}">{inside}</svg>'
