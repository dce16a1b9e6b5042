"""One axis of a parallel-coordinates plot: where a value stands between 0 and 1, and what is written there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Plain: TypeAlias = object
_DECADE = 10.0
_FEW = 6
"""Distinct numbers that each get a mark of their own."""
_MARKS = 5
_APART = 0.055
"""Least distance of two words."""
_NEARLY = 1 - 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A key's values along its axis."""

    names: tuple[str, ...] = ()
    """The values of an axis that has no numbers, from bottom to top."""
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    marks: tuple[float, ...] = ()

    def place(self, value: Plain) -> float:
        """Return where a value stands, 0 at the bottom and 1 at the top."""
        if self.names:
            return 0.5 if len(self.names) == 1 else self.names.index(spelled(value)) / (len(self.names) - 1)
        number = float(value)  # type: ignore[arg-type]  # the scale was made of numbers
        if self.high == self.low:
            return 0.5
        low, high, at = (math.log10(item) if self.log else item for item in (self.low, self.high, number))
        return (at - low) / (high - low)

    def labels(self) -> list[tuple[float, str]]:
        """Return what is written where, so that no two words meet; the ends come first."""
        marks = [(self.place(mark), spelled(mark)) for mark in self.names or self.marks]
        kept: list[tuple[float, str]] = []
        for height, label in [*marks[:1], *marks[-1:], *marks[1:-1]]:
            if all(abs(height - other) >= _APART for other, _ in kept):
                kept.append((height, label))
        return sorted(kept)


def spelled(value: Plain) -> str:
    """Return a value in few characters: 0.005, 2e-05, true."""
    if isinstance(value, bool) or value is None:
        return str(value).lower().replace("none", "null")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e5:
        return str(int(value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def of(values: Sequence[Plain]) -> Scale:
    """Return the scale of a key's values: by logarithm from a decade on, by name where not all are numbers."""
    if not values or any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return Scale(names=tuple(sorted({spelled(value) for value in values})))
    numbers = sorted({float(value) for value in values})  # type: ignore[arg-type]
    low, high = numbers[0], numbers[-1]
    log = low > 0 and high / low >= _DECADE
    marks = numbers if len(numbers) <= _FEW else _between(low, high, log=log)
    return Scale(low=low, high=high, log=log, marks=tuple(marks))


def _between(low: float, high: float, *, log: bool) -> list[float]:
    """Return round numbers between two ends: those of each decade that leave room for words, or even steps."""
    if not log:
        from matplotlib.ticker import MaxNLocator

        return [float(mark) for mark in MaxNLocator(_MARKS).tick_values(low, high) if low <= mark <= high]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1, 2, 5), (1, 3), (1,)):
        marks = [factor * 10.0**power for power in decades for factor in factors]
        found = [mark for mark in marks if low * _NEARLY <= mark <= high / _NEARLY]
        if len(found) <= _MARKS + 2:
            return found
    return found[:: -(-len(found) // _MARKS)]
