"""The dialogues that the data stage wrote, a batch at a time: a file of any size is read in bounded memory."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

Message: TypeAlias = dict[str, str]
Dialogue: TypeAlias = Sequence[Message]

BATCH_ROWS = 256
_BATCH_CHARACTERS = 2_000_000
"""Text of a batch: long dialogues come in smaller batches."""
_SLICE_ROWS = 64


def read(file: Path, start: int = 0, stop: int | None = None) -> Iterator[Dialogue]:
    """Yield the `messages` of the rows of an Arrow stream from `start` up to `stop`, in the file's order."""
    begin = 0
    for column in _columns(file):
        end = begin + len(column)
        mine = column[max(start - begin, 0) : len(column) if stop is None else max(stop - begin, 0)]
        for place in range(0, len(mine), _SLICE_ROWS):
            yield from _listed(mine.slice(place, _SLICE_ROWS))
        begin = end
        if stop is not None and begin >= stop:
            return


def count(file: Path) -> int:
    """Return how many rows an Arrow stream holds."""
    return sum(map(len, _columns(file)))


def _columns(file: Path) -> Iterator[Any]:
    # read, not mapped: pages of a mapped file count as this process's memory until something else wants it
    with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            yield batch.column("messages")


def first(file: Path, count: int) -> list[Dialogue]:
    """Return the dialogues of the first rows, no more than `count`."""
    return list(islice(read(file), count))


def texts(file: Path) -> Iterator[str]:
    """Yield what every turn says."""
    return (message["content"] for dialogue in read(file) for message in dialogue)


def batches(dialogues: Iterable[Dialogue]) -> Iterator[list[Dialogue]]:
    """Yield the dialogues in lists that hold a bounded amount of text (or one dialogue that is longer)."""
    batch: list[Dialogue] = []
    characters = 0
    for dialogue in dialogues:
        batch.append(dialogue)
        characters += sum(len(message["content"]) for message in dialogue)
        if len(batch) == BATCH_ROWS or characters > _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _listed(column: Any) -> list[Dialogue]:
    """Return rows of messages as Python lists: column by column, which is twice as fast as to_pylist."""
    flat = column.flatten()
    roles, contents = flat.field("role").to_pylist(), flat.field("content").to_pylist()
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    ends = iter(messages)
    return [list(islice(ends, length)) for length in column.value_lengths().to_pylist()]
