"""Hold rows out, by the hash of their own text: the order of the source decides nothing."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from phi_runner.data.rows import Row, json_line
from phi_runner.data.spool import Picked, Spool
from phi_runner.errors import DataProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Rows to learn from and rows held out, each in the order of their hash, and what was left out between them."""

    train: Sequence[Row]
    test: Sequence[Row]
    duplicates: int
    """Rows left out because the same dialogue is there already."""
    leaked: int
    """Held-out rows left out because they are also learned from."""


def hold_out(rows: Sequence[Row], *, fraction: float, seed: int) -> Split:
    """Hold out `fraction` of the distinct rows, rounded: at least one, and at least one is left to learn from."""
    distinct, duplicates = _distinct(rows, seed=seed)
    if len(distinct) < 2:
        raise DataProblem(
            f"{len(distinct)} distinct row cannot be divided into rows to learn from and rows to hold out: "
            "take at least 2, or name held-out rows with data.eval_file or data.eval_split"
        )
    count = min(max(round(len(distinct) * fraction), 1), len(distinct) - 1)
    ordered = list(distinct.values())
    train, test = _picked(rows, ordered[count:]), _picked(rows, ordered[:count])
    return Split(train=train, test=test, duplicates=duplicates, leaked=0)


def keep_apart(train: Sequence[Row], *, test: Sequence[Row], seed: int) -> Split:
    """Take held-out rows that the source names, less those also learned from: a trained row measures nothing."""
    learned, train_duplicates = _distinct(train, seed=seed)
    held_out, test_duplicates = _distinct(test, seed=seed)
    measured = [place for digest, place in held_out.items() if digest not in learned]
    if not measured:
        raise DataProblem(
            f"all {len(held_out)} held-out rows are also rows to learn from and would measure nothing: "
            "name other ones with data.eval_file or data.eval_split"
        )
    return Split(
        train=_picked(train, list(learned.values())), test=_picked(test, measured),
        duplicates=train_duplicates + test_duplicates, leaked=len(held_out) - len(measured),
    )  # fmt: skip


def _distinct(rows: Sequence[Row], *, seed: int) -> tuple[dict[bytes, int], int]:
    """Return the place of each row once, by and in the order of its hash, and how many were there again."""
    found: dict[bytes, int] = {}
    for place, row in enumerate(rows):
        found.setdefault(digest(row, seed=seed), place)
    return dict(sorted(found.items(), key=lambda item: item[0])), len(rows) - len(found)


def _picked(rows: Sequence[Row], places: list[int]) -> Sequence[Row]:
    """Return the rows at some places, in that order; those of a spool stay on disk until they are looked at."""
    return Picked(rows, places) if isinstance(rows, Spool) else [rows[place] for place in places]


def digest(row: Row, *, seed: int) -> bytes:
    """Return the hash of a row's own text, by which rows are told apart, ordered and held out."""
    return digest_of(json_line(row), seed=seed)


def digest_of(line: str, *, seed: int) -> bytes:
    """Return the same of a row as it was written."""
    return hashlib.sha256(f"{seed}\n{line}".encode()).digest()
