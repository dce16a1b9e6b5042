"""Paired bootstrap intervals: rows are drawn again with what was measured of them before and after.

Two ways, chosen by how often they cover the truth (`benchmarks/coverage.py`):

- sums over tokens (loss) by the studentised bootstrap: from 5 rows on it holds what it says better than the percentile
  and BCa ways, which are too narrow there;
- shares and scores between 0 and 1 by the expanded percentile way with one row more of either extreme: without these
  two a change that few rows show, or all of them, has an interval of no width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
_MOST_CELLS = 1_000_000
"""Resampled values in memory at a time."""
_MOST_ROWS = 1000
"""Rows beyond these are drawn in groups of neighbours: a mean of so many is as sure either way, and much faster."""


class Interval(NamedTuple):
    """An estimate and the bounds around it."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A sum over a count, both kept by row: nats and tokens, say; it enters a difference with a `sign`."""

    sums: Sequence[float]
    counts: Sequence[float]
    sign: float = 1.0


class Chance(NamedTuple):
    """How an interval is drawn."""

    confidence: float
    resamples: int
    seed: int


def of_ratios(terms: Sequence[Ratio], *, chance: Chance) -> Interval:
    """Return the sum of ratios of sums, rows resampled as wholes, with its studentised bootstrap interval.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 12.5; the standard error is the linearised one.
    """
    rows = _grouped(np.array([[term.sums, term.counts] for term in terms], np.float64))
    signs = np.array([term.sign for term in terms])
    count = rows.shape[2]
    estimate, error = _linearised(rows[None], signs)
    found, errors = [], []
    drawn = np.random.default_rng(chance.seed)
    step = max(1, _MOST_CELLS // (count * len(terms) * 2))
    for start in range(0, chance.resamples, step):
        picked = drawn.integers(count, size=(min(step, chance.resamples - start), count))
        again, error_again = _linearised(np.moveaxis(rows[:, :, picked], 2, 0), signs)
        found.append(again)
        errors.append(error_again)
    values, scales = np.concatenate(found), np.concatenate(errors)
    usable = scales > 1e-9 * float(error[0])  # a row drawn n times over has no spread to measure by
    if not float(error[0]) or not usable.any():
        return Interval(float(estimate[0]), float(estimate[0]), float(estimate[0]))
    away = (values[usable] - estimate[0]) / scales[usable]
    tail = (1 - chance.confidence) / 2
    low, high = np.quantile(away, [tail, 1 - tail])
    return Interval(
        float(estimate[0]), float(estimate[0] - high * error[0]), float(estimate[0] - low * error[0])
    )  # fmt: skip


def _grouped(rows: Floats) -> Floats:
    count = rows.shape[-1]
    starts = np.linspace(0, count, min(count, _MOST_ROWS), endpoint=False).astype(int)
    return np.add.reduceat(rows, starts, axis=-1)


def _linearised(rows: Floats, signs: Floats) -> tuple[Floats, Floats]:
    """Return value and standard error of each sample; `rows` is samples x terms x (sums, counts) x rows."""
    count = rows.shape[-1]
    sums, counts = rows[:, :, 0], rows[:, :, 1]
    totals = counts.sum(axis=-1)
    ratios = sums.sum(axis=-1) / totals
    influence = (sums - ratios[..., None] * counts) * (signs * count / totals)[..., None]
    spread = influence.sum(axis=1).std(axis=-1, ddof=1)
    return ratios @ signs, spread / np.sqrt(count)


def of_differences(differences: Sequence[float], *, chance: Chance) -> Interval:
    """Return the mean of differences that lie between -1 and 1, with its expanded percentile interval.

    Sources: Agresti and Min 2005 for the rows on top; Hesterberg 2015 for the expansion to the t distribution's width.
    """
    values = np.array([*differences, 1.0, -1.0])
    count, estimate = len(values), float(np.mean(differences))
    drawn = np.random.default_rng(chance.seed)
    step = max(1, _MOST_CELLS // count)
    parts = [
        values[drawn.integers(count, size=(min(step, chance.resamples - start), count))].mean(axis=1)
        for start in range(0, chance.resamples, step)
    ]
    tail = _expanded((1 - chance.confidence) / 2, count=count)
    low, high = np.quantile(np.concatenate(parts), [tail, 1 - tail])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def _expanded(tail: float, *, count: int) -> float:
    """Return the share of a bootstrap distribution to leave out: it is narrower than the truth, the less the rows."""
    from scipy.special import stdtrit

    wide = float(stdtrit(count - 1, 1 - tail)) * (count / (count - 1)) ** 0.5
    return NormalDist().cdf(-wide)
