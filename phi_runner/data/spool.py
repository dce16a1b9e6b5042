"""Checked rows on disk instead of in memory: written once, in order, then read from any place."""

import json
import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import overload

from phi_runner.data.rows import Row

_BUFFER_BYTES = 2**20


class Spool(Sequence[Row]):
    """Rows in a file that is removed when the spool is closed; in memory is where each begins, 8 bytes a row.

    Raises OSError when the file cannot be written or read.
    """

    def __init__(self, file: Path) -> None:
        self._writer = file.open("wb", buffering=_BUFFER_BYTES)
        self._reader = os.open(file, os.O_RDONLY)
        file.unlink()  # nobody else reads it, and so nothing is left of it after a crash
        self._begins = array("q", [0])

    def append(self, row: Row) -> None:
        """Add a row behind the others."""
        written = self._writer.write(json.dumps(row, ensure_ascii=False).encode())
        self._begins.append(self._begins[-1] + written)

    def __len__(self) -> int:
        return len(self._begins) - 1

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self._read(one) for one in range(*place.indices(len(self)))]
        return self._read(range(len(self))[place])

    def __iter__(self) -> Iterator[Row]:
        self._writer.flush()
        with open(os.dup(self._reader), "rb", buffering=_BUFFER_BYTES) as stream:
            stream.seek(0)
            for begin, end in pairwise(self._begins):
                yield json.loads(stream.read(end - begin))

    def _read(self, place: int) -> Row:
        self._writer.flush()
        begin, end = self._begins[place], self._begins[place + 1]
        row: Row = json.loads(os.pread(self._reader, end - begin, begin))
        return row

    def close(self) -> None:
        """Free the disk."""
        self._writer.close()
        os.close(self._reader)


class Picked(Sequence[Row]):
    """Some rows of a spool, in an order of their own."""

    def __init__(self, rows: Spool, places: Sequence[int]) -> None:
        self._rows = rows
        self._places = array("q", places)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self._rows[one] for one in self._places[place]]
        return self._rows[self._places[place]]

    def __iter__(self) -> Iterator[Row]:
        return (self._rows[place] for place in self._places)
