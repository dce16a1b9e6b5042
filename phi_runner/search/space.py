"""What a search may try: one axis for each swept key, checked in words before a study is opened."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Plain: TypeAlias = str | int | float | bool | None
"""A swept value, free of Hydra's and Optuna's classes."""
_DIGITS = 4
"""Significant digits of a number that a search makes up: it is typed, read and compared by people."""
_TAGS = {"log", "int", "float"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """A key with a list of values; `texts` are the values as an override spells them."""

    key: str
    texts: tuple[str, ...]
    values: tuple[Plain, ...]

    def distribution(self) -> "BaseDistribution":
        """Return Optuna's word for it; the texts are the categories, so that lists and quoted words pass too."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.texts)

    def text(self, found: Plain) -> str:
        """Return how an override spells what the study suggested."""
        return str(found)

    def place(self, value: Plain) -> Plain:
        """Return what stands for a trial's value in the study; raises ValueError where it is none of the choices."""
        near = [text for text, known in zip(self.texts, self.values, strict=True) if value in (known, text)]
        if not near:
            raise ValueError(f"{self.key}={value} is not among {', '.join(self.texts)}")
        return near[0]

    def problem(self) -> str:
        """Say what is wrong with it, or nothing."""
        return "" if self.texts else f"{self.key} has no values to choose from: type {self.key}=A,B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A key between two numbers, both included; whole numbers where both ends are."""

    key: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    tags: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Say whether it is about whole numbers."""
        return all(isinstance(end, int) for end in (self.low, self.high, self.step or 1))

    def distribution(self) -> "BaseDistribution":
        """Return Optuna's word for it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def text(self, found: Plain) -> str:
        """Return a suggested number with as many digits as a person would type."""
        if isinstance(found, int):
            return str(found)
        number = float(f"{float(found or 0.0):.{_DIGITS}g}")
        return repr(min(max(number, self.low), self.high))

    def place(self, value: Plain) -> Plain:
        """Return what stands for a trial's value in the study; raises ValueError where it lies outside."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError(f"{self.key}={value} is not between {self.low} and {self.high}")
        return int(value) if self.whole and float(value).is_integer() else float(value)

    def problem(self) -> str:
        """Say what is wrong with it, or nothing."""
        typed = f"{self.key}=interval({self.low},{self.high})"
        if unknown := sorted(set(self.tags) - _TAGS):
            return f"{typed} has the tag {unknown[0]!r}, which says nothing: type tag(log,interval(LOW,HIGH))"
        if not (isfinite(self.low) and isfinite(self.high)):
            return f"{typed} has no end: type {self.key}=interval(LOW,HIGH) with two numbers"
        if self.low >= self.high:
            return f"{typed}: the lower end comes first: type {self.key}={self._typed(self.high, self.low)}"
        if self.log and self.low <= 0:
            return f"{typed}: a logarithmic interval begins above 0: type {self.key}=tag(log,interval(LOW,{self.high}))"
        return ""

    def _typed(self, low: float, high: float) -> str:
        if low == high:
            return f"{low}, one value"
        return f"tag(log,interval({low},{high}))" if self.log else f"interval({low},{high})"


Axis: TypeAlias = Choices | Interval


def problems(axes: Sequence[Axis], *, sampler: str) -> Iterator[str]:
    """Yield what is wrong with a search space, one line each."""
    if not axes:
        yield "hydra/sweeper=optuna has nothing to search: type train.learning_rate=tag(log,interval(1e-4,1e-2))"
    yield from (told for axis in axes if (told := axis.problem()))
    numbers = [axis for axis in axes if isinstance(axis, Interval)]
    if sampler == "cmaes" and len(numbers) < 2:
        yield "hydra.sweeper.sampler=cmaes needs two intervals or more: type hydra.sweeper.sampler=tpe"
