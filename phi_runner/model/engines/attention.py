"""Attention of one step: every token of the batch against the keys and values of its own answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention as attend

from phi_runner.model.engines.memory import Row, Segment, Shelf


class Part(Protocol):
    """Tokens of the batch that attend in one call."""

    def __call__(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Store keys and values, (tokens, heads, width), and return what the queries see, (tokens, heads * width)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """A piece of one prompt, which sees all that lies before each of its tokens."""

    row: Row
    start: int
    end: int
    mask: torch.Tensor | None
    scale: float

    def __call__(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attend within one row."""
        keys, values = (part[self.row.index] for part in _layer(self.row.shelf, layer))
        keys[self.start : self.end] = key
        values[self.start : self.end] = value
        seen = attend(
            query.transpose(0, 1)[None], keys[: self.end].transpose(0, 1)[None],
            values[: self.end].transpose(0, 1)[None], attn_mask=self.mask, is_causal=self.mask is None,
            scale=self.scale, enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
        return seen[0].transpose(0, 1).flatten(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Abreast:
    """One token each of several answers on one shelf."""

    shelf: Shelf
    rows: torch.Tensor
    whole: bool
    """They are all rows of the shelf, in order: nothing needs to be copied."""
    places: torch.Tensor
    """Where each token's keys go, counted over all rows of the shelf."""
    start: int
    end: int
    mask: torch.Tensor | None
    scale: float

    def __call__(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attend in all rows at once."""
        keys, values = _layer(self.shelf, layer)
        keys.flatten(0, 1).index_copy_(0, self.places, key)
        values.flatten(0, 1).index_copy_(0, self.places, value)
        if self.whole:
            keys, values = keys[: len(query)], values[: len(query)]
        else:
            keys, values = keys[self.rows], values[self.rows]
        seen = attend(
            query[:, :, None], keys[:, self.start : self.end].transpose(1, 2),
            values[:, self.start : self.end].transpose(1, 2), attn_mask=self.mask, scale=self.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
        return seen.flatten(1)


def _layer(shelf: Shelf, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return keys and values, (rows, capacity, heads, width): what one token adds lies in one piece."""
    return shelf.arrays[2 * layer], shelf.arrays[2 * layer + 1]


def ahead(segment: Segment, *, window: int | None, scale: float) -> Ahead:
    """Prepare a piece of a prompt."""
    start, count = segment.row.length, len(segment.tokens)
    end, mask = start + count, None
    if start or (window is not None and end > window):
        device = segment.row.shelf.arrays[0].device
        behind = torch.arange(start, end, device=device)[:, None] - torch.arange(end, device=device)
        mask = behind >= 0 if window is None else (behind >= 0) & (behind < window)
    return Ahead(row=segment.row, start=start, end=end, mask=mask, scale=scale)


def abreast(segments: Sequence[Segment], *, window: int | None, scale: float) -> Abreast:
    """Prepare single tokens of answers on one shelf, in the order of their rows."""
    shelf = segments[0].row.shelf
    rows = [segment.row.index for segment in segments]
    lengths = [segment.row.length for segment in segments]
    least, end = min(lengths), max(lengths) + 1
    start = 0 if window is None else max(least + 1 - window, 0)
    device = shelf.arrays[0].device
    positions = torch.tensor(lengths, device=device)
    mask = None
    if least + 1 < end:
        place = torch.arange(start, end, device=device)
        mask = place <= positions[:, None]
        if window is not None:
            mask &= place > positions[:, None] - window
        mask = mask[:, None, None]
    places = [row * shelf.capacity + length for row, length in zip(rows, lengths, strict=True)]
    return Abreast(
        shelf=shelf, rows=torch.tensor(rows, device=device), whole=rows == list(range(len(shelf.rows))),
        places=torch.tensor(places, device=device), start=start, end=end, mask=mask, scale=scale,
    )  # fmt: skip
