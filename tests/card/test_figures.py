"""What a difference and its interval are called."""

import math

import pytest

from phi_runner.card.figures import LEAST_ROWS, Verdict, of_losses, perplexity_of, verdict_of
from phi_runner.card.intervals import Interval
from tests.card.cards import CHANCE, loss, ratio, shares


@pytest.mark.parametrize(
    ("estimate", "low", "high", "rows", "verdict"),
    [
        (-0.5, -0.7, -0.3, 20, "better"),
        (0.5, 0.3, 0.7, 20, "worse"),
        (0.01, -0.05, 0.06, 20, "no change"),
        (-0.004, -0.005, -0.003, 20, "no change"),  # sure, and too small to matter
        (-0.5, -1.2, 0.2, 20, "too few rows to tell"),  # as well a great change as none
        (-0.5, -0.7, -0.3, LEAST_ROWS - 1, "too few rows to tell"),
        (math.nan, math.nan, math.nan, 20, "worse"),  # a diverged model
        (math.inf, math.nan, math.nan, 20, "worse"),
    ],
)
def test_verdicts_of_a_loss(estimate: float, low: float, high: float, rows: int, verdict: str) -> None:
    found = verdict_of(Interval(estimate, low, high), rows=rows, unit="nats", less_is_better=True)
    assert found == verdict


def test_of_a_share_more_is_better() -> None:
    assert shares("exact", 0.1, 0.9).verdict is Verdict.better
    assert shares("exact", 0.9, 0.1).verdict is Verdict.worse
    assert shares("exact", 0.5, 0.5, rows=64).verdict is Verdict.no_change
    assert shares("exact", 0.5, 0.5, rows=6).verdict is Verdict.too_few


def test_perplexity_says_what_the_loss_says() -> None:
    found = loss(3.0, 2.0)
    shown = perplexity_of(found)
    assert (shown.before, shown.after) == (pytest.approx(math.exp(found.before)), pytest.approx(math.exp(found.after)))
    assert shown.low < shown.difference < shown.high < 0
    assert shown.verdict is found.verdict is Verdict.better


def test_a_loss_too_large_for_its_perplexity_is_infinite() -> None:
    assert perplexity_of(loss(2.0, 1000.0)).after == math.inf


def test_a_model_that_says_nan_is_worse_and_resamples_nothing() -> None:
    broken = of_losses(
        "loss", "held-out loss", before=ratio([1.0] * 9), after=ratio([1.0] * 8 + [math.nan]), chance=CHANCE
    )  # fmt: skip
    assert math.isnan(broken.after)
    assert broken.verdict is Verdict.worse
