"""Keys and values of the answers in progress: rows of one capacity lie in one array, to be read in one run."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_SMALLEST = 256
"""Tokens of the smallest row; capacities are this, doubled as often as needed."""

Floats = npt.NDArray[np.float32]


@dataclass(eq=False, slots=True)
class Row:
    """The place of one answer."""

    shelf: "Shelf"
    index: int
    length: int = 0
    """Tokens whose keys and values are there."""
    long: bool = False
    """They were turned by the frequencies for long texts."""


@dataclass(eq=False, slots=True)
class Shelf:
    """Rows of one capacity; those in use come first, without gaps."""

    parts: int
    """Keys and values of every layer."""
    heads: int
    capacity: int
    width: int
    arrays: list[Floats] = field(init=False)
    """One a part, (rows, heads, capacity, width)."""
    rows: list[Row] = field(init=False, default_factory=list)
    version: int = field(init=False, default=0)
    """Grows whenever the arrays are others."""

    def __post_init__(self) -> None:
        self.arrays = self._empty(1)

    def take(self) -> Row:
        """Return an empty row."""
        if len(self.rows) == len(self.arrays[0]):
            self._grow()
        row = Row(self, len(self.rows))
        self.rows.append(row)
        return row

    def give_back(self, row: Row) -> None:
        """Close the gap with the last row; an empty shelf keeps no memory."""
        last = self.rows.pop()
        if last is not row:
            for array in self.arrays:
                array[row.index, :, : last.length] = array[last.index, :, : last.length]
            self.rows[row.index], last.index = last, row.index
        if not self.rows and len(self.arrays[0]) > 1:
            self._replace(self._empty(1))

    def _grow(self) -> None:
        larger = self._empty(2 * len(self.rows))
        for old, new in zip(self.arrays, larger, strict=True):
            new[: len(old)] = old
        self._replace(larger)

    def _replace(self, arrays: list[Floats]) -> None:
        self.arrays = arrays
        self.version += 1

    def _empty(self, rows: int) -> list[Floats]:
        size = (rows, self.heads, self.capacity, self.width)
        return [np.zeros(size, np.float32) for _part in range(self.parts)]


class Memory:
    """All shelves of one model, within a budget."""

    def __init__(self, *, layers: int, heads: int, width: int, budget: int) -> None:
        """Take at most `budget` bytes, but always one answer's."""
        self._parts, self._heads, self._width = 2 * layers, heads, width
        self._budget = budget // (self._parts * heads * width * 4)
        self._shelves: dict[int, Shelf] = {}

    def take(self, tokens: int) -> Row | None:
        """Return a row for that many tokens, nothing while the budget is used up; the first one always fits."""
        capacity = _SMALLEST
        while capacity < tokens:
            capacity *= 2
        held = sum(len(shelf.rows) * shelf.capacity for shelf in self._shelves.values())
        if held and held + capacity > self._budget:
            return None
        self._shelves = {key: shelf for key, shelf in self._shelves.items() if shelf.rows or key == capacity}
        if capacity not in self._shelves:
            self._shelves[capacity] = Shelf(self._parts, self._heads, capacity, self._width)
        return self._shelves[capacity].take()
