"""Intervals against scipy's own bootstrap, and where there is little to go by."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from phi_runner.card.intervals import Chance, Interval, Ratio, of_differences, of_ratios

CHANCE = Chance(0.95, 4000, 0)
_chance = np.random.default_rng(1)


def _losses(rows: int, *, shift: float = -0.3) -> list[Ratio]:
    tokens = _chance.integers(5, 60, rows).astype(float)
    early = _chance.gamma(4.0, 0.6, rows)
    late = early + shift + _chance.normal(0.0, 0.2, rows)
    return [Ratio(sums=late * tokens, counts=tokens), Ratio(sums=early * tokens, counts=tokens, sign=-1.0)]


def test_a_difference_of_losses_is_one_of_ratios_of_sums() -> None:
    late, early = _losses(40)
    found = of_ratios([late, early], chance=CHANCE)
    assert found.estimate == pytest.approx(sum(late.sums) / sum(late.counts) - sum(early.sums) / sum(early.counts))
    assert found.low < found.estimate < found.high


def test_with_many_rows_it_is_scipys_percentile_interval() -> None:
    late, early = _losses(400)
    tokens = np.asarray(late.counts)

    def statistic(after: np.ndarray, before: np.ndarray, count: np.ndarray, axis: int) -> np.ndarray:
        return (after.sum(axis=axis) - before.sum(axis=axis)) / count.sum(axis=axis)

    theirs = bootstrap(
        (np.asarray(late.sums), np.asarray(early.sums), tokens), statistic, paired=True, method="percentile",
        n_resamples=4000, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    ours = of_ratios([late, early], chance=CHANCE)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.1 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.1 * width)


def test_pairing_counts() -> None:
    late, early = _losses(60)
    paired = of_ratios([late, early], chance=CHANCE)
    turned = Ratio(sums=early.sums[::-1], counts=early.counts[::-1], sign=-1.0)
    apart = of_ratios([late, turned], chance=CHANCE)
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


def test_rows_beyond_a_thousand_are_drawn_in_groups_and_are_as_sure() -> None:
    late, early = _losses(3000)
    found = of_ratios([late, early], chance=CHANCE)
    difference = (np.asarray(late.sums) - np.asarray(early.sums)) / np.asarray(late.counts)
    about = 2 * 1.96 * difference.std() / 3000**0.5
    assert found.high - found.low == pytest.approx(about, rel=0.35)


def test_the_same_seed_draws_the_same_interval() -> None:
    terms = _losses(20)
    assert of_ratios(terms, chance=CHANCE) == of_ratios(terms, chance=CHANCE)
    assert of_ratios(terms, chance=CHANCE) != of_ratios(terms, chance=CHANCE._replace(seed=1))
    assert of_differences([0.0, 1.0] * 9, chance=CHANCE) == of_differences([0.0, 1.0] * 9, chance=CHANCE)


def test_rows_that_do_not_differ_have_an_interval_of_no_width() -> None:
    same = Ratio(sums=[3.0, 4.0, 5.0], counts=[1.0, 2.0, 3.0])
    found = of_ratios([same, Ratio(sums=same.sums, counts=same.counts, sign=-1.0)], chance=CHANCE)
    assert found == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize("rows", [8, 20, 200])
def test_a_share_that_no_row_or_every_row_changes_is_not_sure_all_the_same(rows: int) -> None:
    still = of_differences([0.0] * rows, chance=CHANCE)
    assert still.low < 0.0 < still.high
    assert still.high == pytest.approx(-still.low, rel=0.2)
    all_of_them = of_differences([1.0] * rows, chance=CHANCE)
    assert 0.0 < all_of_them.low < all_of_them.high == 1.0
    assert still.high < 5.0 / rows + 0.1


def test_more_confidence_is_a_wider_interval() -> None:
    terms = _losses(30)
    narrow, wide = (of_ratios(terms, chance=CHANCE._replace(confidence=share)) for share in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
