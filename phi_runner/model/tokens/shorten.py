"""Dialogues that are too long: cut between turns, so that what is left ends with an answer."""

from collections.abc import Callable, Iterable

import numpy as np

from phi_runner.model.tokens.block import IGNORED, Block, Cut, starts

_LEAST_ANSWER = 8
"""An answer cut to fewer tokens than this teaches nothing but stopping in mid-sentence."""


def fitted(whole: Block, *, max_length: int, beginnings: Callable[[int], Iterable[Cut]]) -> Block:
    """Return the rows with those that are too long cut, or dropped where no answer would be left.

    `beginnings` yields the dialogue at a position of the block, then what is left of it cut behind each answer but the
    last, longest first.
    """
    long: list[int] = np.flatnonzero(whole.lengths > max_length).tolist()
    if not long:
        return whole
    first, lengths = starts(whole.lengths).tolist(), whole.lengths.copy()
    pieces, done = [], 0
    for row in long:
        pieces.append(Cut(whole.ids[done : first[row]], whole.labels[done : first[row]]))
        done = first[row + 1]
        cut = _longest(beginnings(row), max_length=max_length)
        lengths[row] = len(cut.ids)
        pieces.append(cut)
    pieces.append(Cut(whole.ids[done:], whole.labels[done:]))
    ids, labels = (np.concatenate(column) for column in zip(*pieces, strict=True))
    dropped = int(np.count_nonzero(lengths == 0))
    return Block(
        ids=ids, labels=labels, lengths=lengths[lengths > 0], shortened=len(long) - dropped, dropped=dropped
    )  # fmt: skip


def _longest(beginnings: Iterable[Cut], *, max_length: int) -> Cut:
    """Return the longest beginning that fits, else the start of the shortest; empty where that answers nothing."""
    cut = Cut.none()
    for cut in beginnings:
        if len(cut.ids) <= max_length:
            return cut
    start = Cut(cut.ids[:max_length], cut.labels[:max_length])
    return start if np.count_nonzero(start.labels != IGNORED) >= _LEAST_ANSWER else Cut.none()
