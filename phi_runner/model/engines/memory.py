"""Keys and values of the answers in progress: rows of one capacity lie in one tensor, to attend together."""

from dataclasses import dataclass, field

import torch

_SMALLEST = 128
"""Tokens of the smallest row; capacities are this, doubled as often as needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the tensors of one model look like."""

    layers: int
    heads: int
    """Key and value heads."""
    width: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        return 2 * self.layers * self.heads * self.width * self.dtype.itemsize


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

    shape: Shape
    capacity: int
    keys: list[torch.Tensor] = field(init=False)
    """One tensor a layer, (rows, capacity, heads, width): what one token adds lies in one piece."""
    values: list[torch.Tensor] = field(init=False)
    rows: list[Row] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.keys, self.values = self._tensors(1), self._tensors(1)

    def take(self) -> Row:
        """Return an empty row."""
        if len(self.rows) == self.keys[0].shape[0]:
            self._grow()
        row = Row(self, len(self.rows))
        self.rows.append(row)
        return row

    def give_back(self, row: Row) -> None:
        """Close the gap with the last row."""
        last = self.rows.pop()
        if last is not row:
            for part in (*self.keys, *self.values):
                part[row.index, : last.length] = part[last.index, : last.length]
            self.rows[row.index], last.index = last, row.index
        if not self.rows:
            self.keys, self.values = self._tensors(1), self._tensors(1)

    def _grow(self) -> None:
        held = len(self.rows)
        for parts, larger in ((self.keys, self._tensors(2 * held)), (self.values, self._tensors(2 * held))):
            for layer, tensor in enumerate(larger):
                tensor[:held] = parts[layer]
                parts[layer] = tensor

    def _tensors(self, rows: int) -> list[torch.Tensor]:
        shape = self.shape
        size = (rows, self.capacity, shape.heads, shape.width)
        return [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _layer in range(shape.layers)]


class Memory:
    """All shelves of one model, within a budget."""

    def __init__(self, shape: Shape, *, budget: int) -> None:
        self._shape = shape
        self._budget = max(budget // shape.bytes_per_token, _SMALLEST)
        self._shelves: dict[int, Shelf] = {}

    @property
    def shelves(self) -> list[Shelf]:
        """Those that hold rows, the smallest first."""
        return [self._shelves[capacity] for capacity in sorted(self._shelves) if self._shelves[capacity].rows]

    def take(self, tokens: int) -> Row | None:
        """Return a row for that many tokens, nothing while the budget is used up; the first one always fits."""
        capacity = _SMALLEST
        while capacity < tokens:
            capacity *= 2
        held = sum(len(shelf.rows) * shelf.capacity for shelf in self._shelves.values())
        if held and held + capacity > self._budget:
            return None
        shelf = self._shelves.setdefault(capacity, Shelf(self._shape, capacity))
        return shelf.take()
