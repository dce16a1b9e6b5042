"""Figures as people read them: two or three digits, the unit that fits, and the band behind the likely one."""

from collections.abc import Iterable

from phi_runner.plan.bands import Band, Figure, Missing

_HOUR = "h"
_DAYS_FROM = 48.0
_NO_FRACTION, _SMALL = 99.95, 0.01


def told(figure: Figure) -> str:
    """Return `3.2 GiB (2.9 to 3.6)`, or `unknown` for a missing figure, which is told elsewhere."""
    match figure:
        case Missing():
            return "unknown"
        case Band(unit="h"):
            return hours(figure)
        case Band():
            return _band(figure, factor=1.0, unit=figure.unit)


def hours(band: Band) -> str:
    """Return a time in the unit that its likely value asks for."""
    if band.high <= 0:
        return "0 s"
    if band.likely >= _DAYS_FROM:
        return _band(band, factor=1 / 24, unit="days")
    if band.likely >= 1:
        return _band(band, factor=1.0, unit=_HOUR)
    if band.likely >= 2 / 60:
        return _band(band, factor=60.0, unit="min")
    return _band(band, factor=3600.0, unit="s")


def _band(band: Band, *, factor: float, unit: str) -> str:
    likely, low, high = (number(value * factor) for value in (band.likely, band.low, band.high))
    return f"{likely} {unit}" if low == high else f"{likely} {unit} ({low} to {high})"


def number(value: float) -> str:
    """Return a number with three digits, or one where it is very small, and no exponent."""
    if abs(value) >= _NO_FRACTION:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= _SMALL else f"{value:.1g}"


def counted(value: float) -> str:
    """Return a count with its magnitude: `3.82 B`, `3.1 M`, `640 k`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def added(figures: Iterable[Figure], *, unit: str, source: str) -> Figure:
    """Return the sum of figures; a missing one makes the sum missing."""
    low = likely = high = 0.0
    for figure in figures:
        if isinstance(figure, Missing):
            return figure
        low, likely, high = low + figure.low, likely + figure.likely, high + figure.high
    return Band(low=low, likely=likely, high=high, unit=unit, source=source)
