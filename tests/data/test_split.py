"""The split: disjoint, complete, free of order, decided by the seed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_runner.data.rows import Message, Row, json_line
from phi_runner.data.split import Split, hold_out, keep_apart
from phi_runner.errors import DataProblem


def row(number: int) -> Row:
    return [Message(role="user", content=f"q{number}"), Message(role="assistant", content="a")]


def lines(rows: list[Row]) -> list[str]:
    return [json_line(item) for item in rows]


numbers = st.lists(st.integers(0, 60), min_size=2, max_size=80).filter(lambda found: len(set(found)) > 1)
fractions = st.floats(0.001, 0.999)
seeds = st.integers(0, 2**31)


@given(numbers, fractions, seeds)
def test_sides_are_disjoint_and_together_complete(found: list[int], fraction: float, seed: int) -> None:
    split = hold_out([row(number) for number in found], fraction=fraction, seed=seed)
    train, test = lines(split.train), lines(split.test)
    assert not set(train) & set(test)
    assert sorted(train + test) == sorted(lines([row(number) for number in set(found)]))
    assert split.duplicates == len(found) - len(set(found))


@given(numbers, fractions, seeds)
def test_the_held_out_count_is_rounded_and_neither_side_is_empty(found: list[int], fraction: float, seed: int) -> None:
    split = hold_out([row(number) for number in found], fraction=fraction, seed=seed)
    distinct = len(set(found))
    assert len(split.test) == min(max(round(distinct * fraction), 1), distinct - 1)
    assert split.train


@given(numbers, fractions, seeds, st.randoms(use_true_random=False))
def test_order_of_the_source_decides_nothing(
    found: list[int], fraction: float, seed: int, chance: random.Random
) -> None:
    before = hold_out([row(number) for number in found], fraction=fraction, seed=seed)
    chance.shuffle(found)
    assert hold_out([row(number) for number in found], fraction=fraction, seed=seed) == before


@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_the_seed_decides(one: int, other: int) -> None:
    rows = [row(number) for number in range(40)]
    first, second = (hold_out(rows, fraction=0.5, seed=seed) for seed in (one, other))
    assert (first == second) is (one == other)


def test_a_row_keeps_its_side_when_others_join() -> None:
    """Held-out rows stay held out as long as the fraction reaches them: a growing file does not reshuffle."""
    small = hold_out([row(number) for number in range(100)], fraction=0.2, seed=0)
    grown = hold_out([row(number) for number in range(110)], fraction=0.2, seed=0)
    assert len(set(lines(small.test)) & set(lines(grown.train))) <= 3


@given(numbers, numbers, seeds)
def test_named_sides_are_kept_apart(learned: list[int], held_out: list[int], seed: int) -> None:
    held_out = [*held_out, 99]
    split = keep_apart([row(n) for n in learned], test=[row(n) for n in held_out], seed=seed)
    assert sorted(lines(split.train)) == sorted(lines([row(n) for n in set(learned)]))
    assert sorted(lines(split.test)) == sorted(lines([row(n) for n in set(held_out) - set(learned)]))
    assert split.leaked == len(set(held_out) & set(learned))
    assert split.duplicates == len(learned) + len(held_out) - len(set(learned)) - len(set(held_out))


def test_one_distinct_row_cannot_be_divided() -> None:
    with pytest.raises(DataProblem, match=r"^1 distinct row cannot be divided .* data\.eval_file or data\.eval_split$"):
        hold_out([row(1), row(1)], fraction=0.5, seed=0)


def test_held_out_rows_that_are_all_learned_are_refused() -> None:
    with pytest.raises(DataProblem, match=r"^all 2 held-out rows are also rows to learn from"):
        keep_apart([row(1), row(2), row(3)], test=[row(1), row(2), row(1)], seed=0)


def test_one_row_is_enough_beside_named_held_out_rows() -> None:
    split = keep_apart([row(1)], test=[row(2)], seed=0)
    assert split == Split(train=[row(1)], test=[row(2)], duplicates=0, leaked=0)
