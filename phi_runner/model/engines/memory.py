"""Keys and values of the answers in progress: rows of one capacity lie in one array, to be read in one run.

The arrays are torch's or numpy's: whoever computes makes them, with the rows as first dimension.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

_SMALLEST = 128
"""Tokens of the smallest row; capacities are this, doubled as often as needed."""

Empty: TypeAlias = Callable[[int, int], list[Any]]
"""Makes arrays for that many rows of that many tokens: keys and values of the first layer, of the second, ..."""


@dataclass(eq=False, slots=True)
class Row:
    """The place of one answer."""

    shelf: "Shelf"
    index: int
    length: int = 0
    """Tokens whose keys and values are there."""
    long: bool = False
    """They were turned by the frequencies for long texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The next tokens of one answer: a piece of its prompt, or the one said last."""

    row: Row
    tokens: Sequence[int]


@dataclass(eq=False, slots=True)
class Shelf:
    """Rows of one capacity; those in use come first, without gaps."""

    empty: Empty
    capacity: int
    arrays: list[Any] = field(init=False)
    rows: list[Row] = field(init=False, default_factory=list)
    version: int = field(init=False, default=0)
    """Grows whenever the arrays are others."""

    def __post_init__(self) -> None:
        self.arrays = self.empty(1, self.capacity)

    def take(self) -> Row:
        """Return an empty row."""
        held = len(self.rows)
        if held == len(self.arrays[0]):
            larger = self.empty(2 * held, self.capacity)
            for old, new in zip(self.arrays, larger, strict=True):
                new[:held] = old
            self._replace(larger)
        row = Row(self, held)
        self.rows.append(row)
        return row

    def give_back(self, row: Row) -> None:
        """Close the gap with the last row; an empty shelf keeps no more than one."""
        last = self.rows.pop()
        if last is not row:
            for array in self.arrays:
                array[row.index] = array[last.index]
            self.rows[row.index], last.index = last, row.index
        if not self.rows and len(self.arrays[0]) > 1:
            self._replace(self.empty(1, self.capacity))

    def _replace(self, arrays: list[Any]) -> None:
        self.arrays = arrays
        self.version += 1


class Memory:
    """All shelves of one model, within a budget of bytes; the first answer always fits."""

    def __init__(self, empty: Empty, *, bytes_per_token: int, budget: int, switch: int | None) -> None:
        """`switch`: texts of more tokens are turned by other frequencies from the first token on; None: by the same."""
        self._empty = empty
        self._budget = budget // bytes_per_token
        self._switch = switch
        self._shelves: dict[int, Shelf] = {}

    @property
    def rows(self) -> int:
        """Return how many rows are in use."""
        return sum(len(shelf.rows) for shelf in self._shelves.values())

    def take(self, tokens: int) -> Row | None:
        """Return a row for a text of at most that many tokens, nothing while the budget is used up."""
        capacity = _SMALLEST
        while capacity < tokens:
            capacity *= 2
        held = sum(len(shelf.rows) * shelf.capacity for shelf in self._shelves.values())
        if held and held + capacity > self._budget:
            return None
        self._shelves = {key: shelf for key, shelf in self._shelves.items() if shelf.rows or key == capacity}
        if capacity not in self._shelves:
            self._shelves[capacity] = Shelf(self._empty, capacity)
        return self._shelves[capacity].take()

    def restart(self, row: Row, *, tokens: int) -> None:
        """Forget a row's text; what is read next is the beginning of one with `tokens` tokens by now."""
        row.length, row.long = 0, self._switch is not None and tokens > self._switch

    def outgrown(self, row: Row) -> bool:
        """Say whether the next token makes a text so long that all of it must be read again with other frequencies."""
        return row.length == self._switch and not row.long
