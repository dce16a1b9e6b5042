"""Rows of several dialogues: best fit decreasing, inside windows of bounded size."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from phi_runner.model.tokens.block import COLUMN, IGNORED, SCHEMA, Ints, starts

PACKED = SCHEMA.append(pa.field("seq_lengths", COLUMN))
"""`seq_lengths` says how long each dialogue of a row is; TRL's collator makes positions that begin anew from it."""
_WINDOW_TOKENS = 4_000_000
"""Tokens that are held while they are packed (8 bytes each, twice)."""


def packed(batches: Iterable[Any], *, max_length: int, rows_ahead: int = 0) -> Iterator[Any]:
    """Yield record batches of PACKED from those of token rows, none of which is longer than `max_length`.

    No dialogue is divided. The first label of each is ignored: the token before it belongs to another dialogue. What
    shares a row follows from the rows alone, not from how they are divided into batches. Windows are smaller where no
    more than about `rows_ahead` packed rows are to be made before they are asked for.
    """
    window: list[Any] = []
    most = min(_WINDOW_TOKENS, rows_ahead * max_length or _WINDOW_TOKENS)
    room = most
    for batch in batches:
        rest = batch
        while rest.num_rows:
            lengths = rest.column(0).value_lengths().to_numpy()
            fitting = int(np.searchsorted(np.cumsum(lengths, dtype=np.int64), room)) + 1
            window.append(rest.slice(0, fitting))
            room -= int(lengths[:fitting].sum())
            rest = rest.slice(fitting)
            if room <= 0:
                yield _pack(window, max_length=max_length)
                window, room = [], most
    if window:
        yield _pack(window, max_length=max_length)


def count(lengths: Ints, *, max_length: int) -> int:
    """Return how many rows `packed` makes of rows of these lengths."""
    begin, rows = 0, 0
    sums = starts(lengths)
    while begin < len(lengths):
        # a window ends with the row that fills it
        end = min(int(np.searchsorted(sums, sums[begin] + _WINDOW_TOKENS)), len(lengths))
        rows += len(best_fit(lengths[begin:end], most=max_length))
        begin = end
    return rows


def _pack(window: list[Any], *, max_length: int) -> Any:
    rows = pa.Table.from_batches(window).combine_chunks().to_batches()[0]
    lengths = rows.column(0).value_lengths().to_numpy()
    bins = best_fit(lengths, most=max_length)
    order = np.fromiter((row for one in bins for row in one), np.int64, len(lengths))
    counts = np.fromiter(map(len, bins), np.int32, len(bins))
    lengths = lengths[order]
    taken = rows.take(pa.array(order))
    ids, labels = (taken.column(name).flatten().to_numpy() for name in ("input_ids", "labels"))
    firsts = starts(lengths)
    labels = labels.copy()
    labels[firsts[:-1]] = IGNORED
    dialogues = starts(counts)
    offsets = pa.array(firsts[dialogues].astype(np.int32))
    columns = [
        pa.ListArray.from_arrays(offsets, pa.array(ids)),
        pa.ListArray.from_arrays(offsets, pa.array(labels)),
        pa.ListArray.from_arrays(pa.array(dialogues.astype(np.int32)), pa.array(lengths)),
    ]
    return pa.record_batch(columns, schema=PACKED)


def best_fit(lengths: Ints, *, most: int) -> list[list[int]]:
    """Return bins of positions whose lengths sum to at most `most`: long ones first, each into the fullest bin it fits.

    Bins with a given space left are found through the bits of one number: the lowest bit set at or above the length.
    """
    bins: list[list[int]] = []
    by_space: dict[int, list[list[int]]] = defaultdict(list)
    spaces = 0
    for position in np.argsort(-lengths.astype(np.int64), kind="stable").tolist():
        length = int(lengths[position])
        fitting = spaces >> length
        if fitting:
            space = (fitting & -fitting).bit_length() - 1 + length
            found = by_space[space].pop()
            if not by_space[space]:
                spaces &= ~(1 << space)
        else:
            space, found = most, []
            bins.append(found)
        found.append(position)
        by_space[space - length].append(found)
        spaces |= 1 << (space - length)
    return bins
