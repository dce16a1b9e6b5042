"""Line charts as SVG text, drawn without matplotlib: a report must cost no import of seconds, and follow dark mode.

Colours are the page's own variables (`--one` to `--four`), with a fallback for a chart that stands alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 30, 38
_COLOURS = {"one": "#0b62c4", "two": "#c2570c", "three": "#177a4b", "four": "#8a3fa8"}
_MOST_POINTS = 400
_FEW = 60
"""Up to so many points each gets a dot."""
_LETTER = 6.2
"""Width of a letter of the legend, in the chart's own units."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: its name in the legend and its points in the order of x."""

    label: str
    points: Points
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return where a value lies in the picture."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def lines(series: Sequence[Series], *, x_label: str, y_label: str, from_zero: bool = False) -> str:
    """Return the chart; points that are no finite numbers are left out, and nothing but those gives an empty frame."""
    kept = [Series(label=one.label, points=_thinned(_finite(one.points)), dashed=one.dashed) for one in series]
    every = [point for one in kept for point in one.points]
    x_ticks = _inside([x for x, _y in every])
    y_ticks = _ticks([y for _x, y in every] + ([0.0] if from_zero else []))
    x = _Axis(low=x_ticks[0], high=max([x_ticks[-1], *(a for a, _b in every)]), start=_LEFT, end=_WIDTH - _RIGHT)
    y = _Axis(low=y_ticks[0], high=y_ticks[-1], start=_HEIGHT - _BOTTOM, end=_TOP)
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="11" '
            'font-family="system-ui, sans-serif" fill="currentColor">',
            *_grid(x, y, x_ticks=x_ticks, y_ticks=y_ticks),
            *_names(x_label, y_label),
            *(_legend(kept) if len(kept) > 1 else ()),
            *(mark for number, one in enumerate(kept) for mark in _line(one, number, x=x, y=y)),
            "</svg>",
        ]
    )


def _finite(points: Points) -> Points:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _thinned(points: Points) -> Points:
    """Keep the lowest and the highest point of each stretch of a long line, so that no peak is lost."""
    if len(points) <= _MOST_POINTS:
        return points
    size = math.ceil(len(points) / (_MOST_POINTS // 2))
    kept: list[tuple[float, float]] = []
    for begin in range(0, len(points), size):
        part = points[begin : begin + size]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return kept


def _ticks(values: Sequence[float], *, whole: bool = False) -> list[float]:
    """Return round numbers from below the lowest value to above the highest one."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
        low = max(low, 0.0) if values[0] >= 0 else low
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * size for size in (1, 2, 2.5, 5, 10) if power * size >= rough)
    step = max(round(step), 1.0) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _inside(values: Sequence[float]) -> list[float]:
    """Return whole round numbers that do not go beyond the highest value: steps after the end are none."""
    ticks = _ticks(values, whole=True)
    return [tick for tick in ticks if not values or tick <= max(values)] or ticks


def _number(value: float) -> str:
    if 0 < abs(value) < 1e-2:  # the margin has room for five letters
        digits, _e, power = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    text = f"{value:.4g}"
    return f"{value:,.0f}" if "e+" in text else text


def _grid(x: _Axis, y: _Axis, *, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> Iterator[str]:
    for tick in y_ticks:
        height = y.at(tick)
        yield (
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}" '
            'stroke="currentColor" stroke-opacity="0.15"/>'
            f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end" fill-opacity="0.75">{_number(tick)}</text>'
        )
    for tick in x_ticks:
        yield (
            f'<text x="{x.at(tick):.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle" '
            f'fill-opacity="0.75">{_number(tick)}</text>'
        )


def _names(x_label: str, y_label: str) -> Iterator[str]:
    yield (
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle" '
        f'fill-opacity="0.75">{escape(x_label)}</text>'
    )
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f'<text transform="rotate(-90 11 {middle})" x="11" y="{middle}" text-anchor="middle" '
        f'fill-opacity="0.75">{escape(y_label)}</text>'
    )


def _colour(number: int) -> str:
    name = list(_COLOURS)[number % len(_COLOURS)]
    return f"var(--{name}, {_COLOURS[name]})"


def _dash(one: Series) -> str:
    return ' stroke-dasharray="5 4"' if one.dashed else ""


def _legend(series: Sequence[Series]) -> Iterator[str]:
    """Yield the names above the plot, as many as fit into its width."""
    left = float(_LEFT)
    room = (_WIDTH - _RIGHT - _LEFT) / max(len(series), 1)
    for number, one in enumerate(series):
        most = max(3, int((room - 30) / _LETTER))
        label = one.label if len(one.label) <= most else one.label[: most - 1] + "…"
        yield (
            f'<line x1="{left:.1f}" x2="{left + 16:.1f}" y1="14" y2="14" stroke-width="2" '
            f'stroke="{_colour(number)}"{_dash(one)}/>'
            f'<text x="{left + 20:.1f}" y="18">{escape(label)}</text>'
        )
        left += 34 + len(label) * _LETTER


def _line(one: Series, number: int, *, x: _Axis, y: _Axis) -> Iterator[str]:
    places = [f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in one.points]
    if len(places) > 1:
        yield (
            f'<polyline points="{" ".join(places)}" fill="none" stroke="{_colour(number)}" '
            f'stroke-width="1.8"{_dash(one)}/>'
        )
    if len(places) <= _FEW:
        for place in places:
            across, down = place.split(",")
            yield f'<circle cx="{across}" cy="{down}" r="2.2" fill="{_colour(number)}"/>'
