"""Token rows of one batch as flat arrays: ids, labels and lengths."""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

IGNORED = -100
"""The label that cross entropy passes over (torch's default ignore_index)."""

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]
Positions: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

COLUMN = pa.list_(pa.int32())
SCHEMA = pa.schema([("input_ids", COLUMN), ("labels", COLUMN)])


class Cut(NamedTuple):
    """One dialogue, or the beginning of one: its ids and labels."""

    ids: Ints
    labels: Ints

    @classmethod
    def none(cls) -> "Cut":
        """Return nothing of a dialogue."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some rows, one behind the other, and what the length limit did to their dialogues."""

    ids: Ints
    labels: Ints
    lengths: Ints
    shortened: int = 0
    dropped: int = 0

    @property
    def taught(self) -> int:
        """Tokens that are learnt."""
        return int(np.count_nonzero(self.labels != IGNORED))

    def batch(self) -> Any:
        """Return the rows as an Arrow record batch of SCHEMA, without copying the ids."""
        offsets = pa.array(starts(self.lengths).astype(np.int32))
        columns = [pa.ListArray.from_arrays(offsets, pa.array(values)) for values in (self.ids, self.labels)]
        return pa.record_batch(columns, schema=SCHEMA)


def starts(lengths: Ints) -> Positions:
    """Return where each row begins, and behind them where the last one ends."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def labelled(ids: Ints, begins: Positions, ends: Positions) -> Ints:
    """Return labels that repeat the ids from each begin up to its end, which do not overlap, and ignore the rest."""
    steps = np.zeros(len(ids) + 1, np.int8)
    steps[begins] += 1
    steps[ends] -= 1
    return np.where(np.cumsum(steps[:-1], dtype=np.int8) > 0, ids, np.int32(IGNORED))
