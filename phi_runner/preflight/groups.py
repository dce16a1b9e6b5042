"""Positions that belong together: chains of pairs become groups, equal numbers become runs."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

Positions = np.ndarray[Any, np.dtype[np.int64]]


def joined(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the groups that pairs of positions form, each in order."""
    parent: dict[int, int] = {}

    def top(place: int) -> int:
        while parent.setdefault(place, place) != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for first, second in pairs:
        low, high = sorted((top(first), top(second)))
        parent[high] = low
    groups: dict[int, list[int]] = {}
    for place in sorted(parent):
        groups.setdefault(top(place), []).append(place)
    return list(groups.values())


def runs(values: "np.ndarray[Any, Any]") -> Iterator[Positions]:
    """Yield the positions of each value that occurs more than once, in order; 0 is no value."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    edges = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1], [True])))
    for begin, end in zip(edges[:-1][np.diff(edges) > 1], edges[1:][np.diff(edges) > 1], strict=True):
        if ordered[begin] != 0:
            yield order[begin:end]


def firsts(values: "np.ndarray[Any, Any]") -> Positions:
    """Return the positions at which a value occurs for the first time, in order."""
    found: Positions = np.sort(np.unique(values, return_index=True)[1])
    return found
