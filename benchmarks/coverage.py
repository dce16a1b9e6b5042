"""How often an interval of the before/after card holds the truth: `python -m benchmarks.coverage [--draws 1000]`.

Data sets are drawn from distributions whose true difference is known, and each way of making a 95 % interval is asked
about the same ones. What the card uses is marked; the others are why.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from phi_runner.card.intervals import Chance, Interval, Ratio, of_differences, of_ratios

Array = Any
Generator = Any
ROWS = (5, 8, 20, 50, 200)
_CONFIDENCE = 0.95
_TRUTH_ROWS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Rows of tokens whose loss per token changes by what `change` draws, given the rows' tokens."""

    change: Callable[[Generator, Array], Array]

    def draw(self, chance: Generator, rows: int) -> tuple[Array, Array, Array]:
        """Return nats before, nats after and tokens of each row."""
        tokens = np.maximum(2, np.round(chance.lognormal(3.0, 0.8, rows)))
        before = chance.gamma(4.0, 0.6, rows)
        return before * tokens, (before + self.change(chance, tokens)) * tokens, tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Rows whose score between 0 and 1 changes by what `change` draws."""

    change: Callable[[Generator, int], Array]

    def draw(self, chance: Generator, rows: int) -> Array:
        """Return the difference of each row."""
        return self.change(chance, rows)


def _right(chance: Generator, rows: int, *, gained: float, lost: float) -> Array:
    drawn = chance.random(rows)
    return np.where(drawn < gained, 1.0, np.where(drawn < gained + lost, -1.0, 0.0))


def _overlap(chance: Generator, rows: int) -> Array:
    before = np.where(chance.random(rows) < 0.5, 0.0, chance.beta(2, 3, rows))
    after = np.where(chance.random(rows) < 0.4, 1.0, chance.beta(3, 2, rows))
    return after - before


LOSSES = {
    "even": Losses(change=lambda chance, tokens: chance.normal(-0.3, 0.4, len(tokens))),
    "skewed": Losses(change=lambda chance, tokens: 0.1 - chance.exponential(0.4, len(tokens))),
    "heavy tails": Losses(change=lambda chance, tokens: -0.2 + 0.3 * chance.standard_t(3, len(tokens))),
    "by length": Losses(change=lambda chance, tokens: -0.1 - np.log(tokens) / 12 + chance.normal(0, 0.3, len(tokens))),
}
SCORES = {
    "F1": Scores(change=_overlap),
    "30 % gained, 5 % lost": Scores(change=partial(_right, gained=0.3, lost=0.05)),
    "6 % gained, 2 % lost": Scores(change=partial(_right, gained=0.06, lost=0.02)),
    "2 % gained": Scores(change=partial(_right, gained=0.02, lost=0.0)),
    "90 % gained": Scores(change=partial(_right, gained=0.9, lost=0.0)),
}


def _scipys(statistic: Callable[..., Array], data: Sequence[Array], *, method: str, resamples: int) -> Interval:
    """Return scipy's interval; a sample that does not vary has the one value it shows."""
    with np.errstate(all="ignore"):
        found = bootstrap(
            tuple(data), statistic, paired=True, vectorized=True, n_resamples=resamples, method=method,
            confidence_level=_CONFIDENCE, rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
    value = float(statistic(*data, axis=-1))
    low, high = (value if np.isnan(bound) else float(bound) for bound in found)
    return Interval(value, low, high)


def _loss_change(before: Array, after: Array, tokens: Array, axis: int = -1) -> Array:
    return (after.sum(axis=axis) - before.sum(axis=axis)) / tokens.sum(axis=axis)


def loss_intervals(drawn: tuple[Array, Array, Array], *, resamples: int) -> dict[str, Interval]:
    """Return an interval by each way."""
    before, after, tokens = drawn
    terms = [Ratio(sums=after, counts=tokens), Ratio(sums=before, counts=tokens, sign=-1.0)]
    scipys = partial(_scipys, _loss_change, drawn, resamples=resamples)
    return {
        "studentised (used)": of_ratios(terms, chance=Chance(_CONFIDENCE, resamples, 0)),
        "percentile": scipys(method="percentile"),
        "BCa": scipys(method="BCa"),
    }


def _mean(values: Array, axis: int = -1) -> Array:
    return values.mean(axis=axis)


def score_intervals(drawn: Array, *, resamples: int) -> dict[str, Interval]:
    """Return an interval by each way."""
    scipys = partial(_scipys, _mean, (drawn,), resamples=resamples)
    return {
        "expanded, two rows more (used)": of_differences(drawn.tolist(), chance=Chance(_CONFIDENCE, resamples, 0)),
        "percentile": scipys(method="percentile"),
        "BCa": scipys(method="BCa"),
    }


def _holds(found: Interval, truth: float) -> bool:
    return found.low - 1e-12 <= truth <= found.high + 1e-12


def main() -> None:
    """Print for each distribution and number of rows how many intervals hold the truth, and how wide they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000, help="data sets of each kind and size")
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    print(f"{'distribution':24} {'rows':>4}  coverage in % (median width) of {given.draws} intervals at 95 %")
    for name, losses in LOSSES.items():
        before, after, tokens = losses.draw(np.random.default_rng(9), _TRUTH_ROWS)
        truth = float(_loss_change(before, after, tokens))
        _print(f"loss, {name}", losses.draw, loss_intervals, truth=truth, given=given)
    for name, scores in SCORES.items():
        truth = float(scores.draw(np.random.default_rng(9), _TRUTH_ROWS).mean())
        _print(name, scores.draw, score_intervals, truth=truth, given=given)


def _print(name: str, draw: Callable[..., Any], ways: Callable[..., Any], *, truth: float, given: Any) -> None:
    for rows in ROWS:
        chance = np.random.default_rng(rows)
        found = [ways(draw(chance, rows), resamples=given.resamples) for _ in range(given.draws)]
        told = []
        for way in found[0]:
            held = np.mean([_holds(each[way], truth) for each in found])
            width = np.median([each[way].high - each[way].low for each in found])
            told.append(f"{way} {100 * held:5.1f} ({width:.2f})")
        print(f"{name:24} {rows:4}  {'   '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
