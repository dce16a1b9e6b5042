"""One figure of the card: before, after, the difference with its interval, and in one word what to make of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from phi_runner.card.intervals import Chance, Interval, Ratio, of_differences, of_ratios

LEAST_ROWS = 5
"""Below this no interval holds what it says (`benchmarks/coverage.py`)."""
_WORTH_SAYING = {"nats": 0.005, "share": 0.001, "score": 0.0}
"""Smaller differences are no change, however sure: rounding alone makes some."""
_SMALL = {"nats": 0.1, "share": 0.1, "score": math.inf}
"""An interval around zero that reaches further than this rules nothing out: it is no sign of no change."""

QUESTION = "question_gain"


class Verdict(StrEnum):
    """What a difference and its interval mean."""

    better = "better"
    worse = "worse"
    no_change = "no change"
    too_few = "too few rows to tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured before and after; `low` and `high` bound the difference."""

    name: str
    about: str
    before: float
    after: float
    difference: float
    low: float
    high: float
    rows: int
    """Held-out rows, prompts, pairs or task rows behind it."""
    unit: str
    """`nats`, `share` or `perplexity`."""
    less_is_better: bool
    verdict: Verdict
    counts: bool = True
    """Whether `evaluate.gate=not_worse` looks at it."""
    note: str = ""
    after_low: float | None = None
    """Bounds of the value after training itself, where that is asked about."""
    after_high: float | None = None
    stderr_before: float | None = None
    """As the LM Evaluation Harness states it."""
    stderr_after: float | None = None


def verdict_of(found: Interval, *, rows: int, unit: str, less_is_better: bool) -> Verdict:
    """Return what an interval of a difference means."""
    if math.isnan(found.estimate) or not math.isfinite(found.low + found.high):
        return Verdict.worse if found.estimate == math.inf or math.isnan(found.estimate) else Verdict.too_few
    if rows < LEAST_ROWS:
        return Verdict.too_few
    if found.low <= 0 <= found.high:
        small = max(-found.low, found.high) <= _SMALL[unit]
        return Verdict.no_change if small else Verdict.too_few
    if abs(found.estimate) < _WORTH_SAYING[unit]:
        return Verdict.no_change
    return Verdict.better if (found.estimate < 0) == less_is_better else Verdict.worse


def of_losses(
    name: str, about: str, *, before: Ratio, after: Ratio, chance: Chance, counts: bool = True, note: str = ""
) -> Figure:
    """Return a loss in nats per token; rows are resampled as wholes with all their tokens."""
    found = _safely([after, _minus(before)], chance=chance)
    rows = len(before.sums)
    return Figure(
        name=name, about=about, before=_ratio(before), after=_ratio(after), difference=found.estimate, low=found.low,
        high=found.high, rows=rows, unit="nats", less_is_better=True, counts=counts, note=note,
        verdict=verdict_of(found, rows=rows, unit="nats", less_is_better=True),
    )  # fmt: skip


def of_gains(
    name: str, about: str, *, before: tuple[Ratio, Ratio], after: tuple[Ratio, Ratio], chance: Chance
) -> Figure:
    """Return by how much the first loss of each pair is larger than the second, before and after."""
    found = _safely([after[0], _minus(after[1]), _minus(before[0]), before[1]], chance=chance)
    alone = _safely([after[0], _minus(after[1])], chance=chance)
    rows = len(before[0].sums)
    return Figure(
        name=name, about=about, before=_ratio(before[0]) - _ratio(before[1]), after=alone.estimate,
        difference=found.estimate, low=found.low, high=found.high, rows=rows, unit="nats", less_is_better=False,
        verdict=verdict_of(found, rows=rows, unit="nats", less_is_better=False),
        after_low=alone.low, after_high=alone.high,
    )  # fmt: skip


def of_scores(
    name: str, about: str, *, before: Sequence[float], after: Sequence[float], chance: Chance, note: str = "",
    counts: bool = True,
) -> Figure:  # fmt: skip
    """Return the mean of scores between 0 and 1, row by row the same prompts."""
    differences = [late - early for early, late in zip(before, after, strict=True)]
    found = of_differences(differences, chance=chance)
    rows = len(differences)
    return Figure(
        name=name, about=about, before=sum(before) / rows, after=sum(after) / rows, difference=found.estimate,
        low=found.low, high=found.high, rows=rows, unit="share", less_is_better=False, note=note, counts=counts,
        verdict=verdict_of(found, rows=rows, unit="share", less_is_better=False),
    )  # fmt: skip


def perplexity_of(loss: Figure, *, name: str = "perplexity") -> Figure:
    """Return e to a loss; its interval is the loss's, carried over with the value before held where it is."""
    before, after = exp(loss.before), exp(loss.after)
    low, high = (before * (exp(bound) - 1) for bound in (loss.low, loss.high))
    return Figure(
        name=name, about=f"e to the {loss.about}", before=before, after=after, difference=after - before, low=low,
        high=high, rows=loss.rows, unit="perplexity", less_is_better=True, verdict=loss.verdict, counts=loss.counts,
    )  # fmt: skip


def exp(value: float) -> float:
    """Return e to the value; a hopeless model's loss may be too large for a float."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _minus(ratio: Ratio) -> Ratio:
    return Ratio(sums=ratio.sums, counts=ratio.counts, sign=-1.0)


def _ratio(ratio: Ratio) -> float:
    return sum(ratio.sums) / sum(ratio.counts)


def _safely(terms: list[Ratio], *, chance: Chance) -> Interval:
    """Return the interval; where a value is no number, nothing is resampled."""
    if all(math.isfinite(value) for term in terms for value in term.sums):
        return of_ratios(terms, chance=chance)
    estimate = sum(term.sign * _ratio(term) for term in terms)
    return Interval(estimate, math.nan, math.nan)
