"""Rows that say almost the same: found by MinHash signatures in bands, then compared word by word.

The signatures are rensa's: it made 260 times as many a second as datasketch (170,000 against 640 texts of 200 words on
one core), needs nothing else, and the bands can stay on disk, which an index in memory could not for a million rows.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from phi_runner.preflight.facts import Facts, said
from phi_runner.preflight.likeness import alike
from phi_runner.preflight.words import shingles, words

BANDS, WIDTH = 16, 4
"""A pair alike by 0.7 shares one of 16 bands of 4 with a chance of 99 %, by 0.8 of 99.98 %."""
_LEAST_ESTIMATE = 0.5
"""Share of equal places in two signatures below which their texts are not compared: 3.5 deviations below 0.7."""
_LEAST_WORDS = 5
_BATCH_ROWS = 1_000
_MOST_PAIRS = 1_000_000
"""Pairs that are compared; a corpus of one frame filled in a million ways would have more."""
_SEED = 1

Pairs = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(slots=True)
class Signatures:
    """Signatures of rows, a file for each band: `WIDTH` numbers a row, 0 for a row of too few words."""

    folder: Path
    _waiting: list[list[str]] = field(default_factory=list)
    _files: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        # without a name from the beginning, so that nothing is left of them after a crash
        self._files = [tempfile.TemporaryFile(dir=self.folder) for _band in range(BANDS)]  # noqa: SIM115 (closed by `close`)

    def add(self, text: str) -> None:
        """Add a row's signature."""
        found = words(text)
        self._waiting.append(list(shingles(found)) if len(found) >= _LEAST_WORDS else [])
        if len(self._waiting) == _BATCH_ROWS:
            self._write()

    def _write(self) -> None:
        from rensa import RMinHash

        filled = [row for row in self._waiting if row]
        numbers = np.zeros((len(self._waiting), BANDS * WIDTH), np.uint32)
        if filled:
            digests = RMinHash.digest_matrix_from_token_sets(filled, BANDS * WIDTH, _SEED).to_rows()
            numbers[[bool(row) for row in self._waiting]] = digests
        for band, stream in enumerate(self._files):
            numbers[:, band * WIDTH : (band + 1) * WIDTH].tofile(stream)
        self._waiting = []

    def finish(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._write()

    def band(self, number: int) -> "np.ndarray[Any, np.dtype[np.uint32]]":
        """Return one band's part of all signatures."""
        self._files[number].seek(0)
        return np.fromfile(self._files[number], np.uint32).reshape(-1, WIDTH)

    def close(self) -> None:
        """Free the disk."""
        for stream in self._files:
            stream.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """Pairs of rows that say the same, and whether all candidates were compared."""

    pairs: list[tuple[int, int, float]]
    complete: bool


def near(facts: Facts, signatures: Signatures, *, distinct: "np.ndarray[Any, Any]") -> Near:
    """Return the pairs among the rows at `distinct` positions that say the same."""
    candidates = _candidates(signatures, rows=distinct, held_out=facts.column("held_out"))
    found = []
    for first, second in _ordered(candidates[:_MOST_PAIRS]):
        one, other = (words(said(facts.row(place)[1])) for place in (first, second))
        likeness = alike(one, other)
        if likeness:
            found.append((first, second, round(likeness, 3)))
    return Near(pairs=found, complete=len(candidates) <= _MOST_PAIRS)


def _ordered(candidates: Pairs) -> Iterator[tuple[int, int]]:
    return ((int(pair) >> 32, int(pair) & 0xFFFFFFFF) for pair in candidates)


def _candidates(signatures: Signatures, *, rows: "np.ndarray[Any, Any]", held_out: "np.ndarray[Any, Any]") -> Pairs:
    """Return pairs of rows that share a band and whose signatures agree enough, as one number each."""
    order = rows[np.argsort(held_out[rows], kind="stable")]  # rows to learn from lead each group
    found = np.empty(0, np.int64)
    for number in range(BANDS):
        pairs = np.setdiff1d(_sharing(signatures.band(number), order=order), found, assume_unique=True)
        found = np.union1d(found, pairs[_agreeing(signatures, pairs)])
    return found


def _sharing(band: "np.ndarray[Any, np.dtype[np.uint32]]", *, order: "np.ndarray[Any, Any]") -> Pairs:
    """Pair each row with the one before it and the first one of those that have the same numbers in a band."""
    order = order[band[order].any(axis=1)]
    keys = band[order].astype(np.uint64) @ np.array(
        [1, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64
    )
    places = np.argsort(keys, kind="stable")
    keys, order = keys[places], order[places].astype(np.int64)
    begins = np.concatenate(([True], keys[1:] != keys[:-1])) if len(keys) else np.empty(0, bool)
    firsts = order[np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))] if len(keys) else order
    others = ~begins
    before = np.concatenate((order[:1], order[:-1]))
    ends = [np.stack((side[others], order[others])) for side in (before, firsts)]
    low, high = np.sort(np.concatenate(ends, axis=1), axis=0)
    pairs: Pairs = np.unique((low << 32) | high)
    return pairs


def _agreeing(signatures: Signatures, pairs: Pairs) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Say of each pair whether its signatures agree in enough places."""
    agreed = np.zeros(len(pairs), np.uint16)
    if len(pairs):
        low, high = pairs >> 32, pairs & 0xFFFFFFFF
        for number in range(BANDS):
            band = signatures.band(number)
            agreed += (band[low] == band[high]).sum(axis=1, dtype=np.uint16)
    return agreed >= _LEAST_ESTIMATE * BANDS * WIDTH
