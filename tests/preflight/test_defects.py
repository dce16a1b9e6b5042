"""Planted defects are found, and clean rows that look like them are not."""

from pathlib import Path

import pytest

from benchmarks.defects import Corpus, corpus, lines
from benchmarks.preflight import measured

_LEAST = 0.95


@pytest.fixture(scope="module")
def made() -> Corpus:
    return corpus(seed=11, each=12, plain=150)


@pytest.fixture(scope="module")
def found(made: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int, int]]:
    return measured(made, folder=tmp_path_factory.mktemp("planted"))


def test_at_least_twelve_kinds_are_planted(made: Corpus) -> None:
    assert len(made.planted) >= 20
    assert len(made.clean) >= 90
    assert len(made.train) + len(made.test) >= 500


def test_nearly_all_of_every_kind_are_found(found: dict[str, tuple[int, int, int]]) -> None:
    missed = {kind: row for kind, row in found.items() if row[1] < _LEAST * row[0]}
    assert not missed


def test_nearly_nothing_else_is_taken_for_it(found: dict[str, tuple[int, int, int]]) -> None:
    wrong = {kind: row for kind, row in found.items() if row[2] > (1 - _LEAST) * (row[1] + row[2])}
    assert not wrong


def test_the_same_seed_makes_the_same_rows(tmp_path: Path) -> None:
    assert list(lines(rows=200)) == list(lines(rows=200))
    assert corpus(seed=1, each=2, plain=10).train == corpus(seed=1, each=2, plain=10).train
