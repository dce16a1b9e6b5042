"""What a row is: as its source spells it, and as a checked dialogue or pair of answers."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypedDict


class Message(TypedDict):
    """One turn of a checked dialogue."""

    role: str
    content: str


Dialogue: TypeAlias = list[Message]
"""A checked dialogue: maybe one system turn, then user and assistant in turn, the assistant last."""


class Pair(TypedDict):
    """Two answers to one prompt, of which people prefer the first; each answer is one turn of the assistant."""

    prompt: Dialogue
    chosen: Dialogue
    rejected: Dialogue


Row: TypeAlias = Dialogue | Pair


class Turn(NamedTuple):
    """One turn as its source spells it: nothing is known about the values yet."""

    role: object
    content: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row as its source spells it, and where it stands."""

    place: str
    """Where a person finds it: `chats.jsonl:14 (row 12)`; blank lines are no rows."""
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows that can be counted, and read one by one from the top, as often as needed."""

    name: str
    total: Callable[[], int]
    read: Callable[[], Iterator[Record]]


class Unusable(Exception):
    """Why one row cannot be learned from; counted where rows are read, never shown as an error of its own."""


def columns(row: Row) -> dict[str, Dialogue]:
    """Return the columns that are written of a row; a pair has `messages` too, its prompt with the chosen answer.

    So whatever reads dialogues reads pairs as well: training on answers alone, the held-out loss, other tools.
    """
    if isinstance(row, list):
        return {"messages": row}
    return {
        "prompt": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"],
        "messages": [*row["prompt"], *row["chosen"]],
    }  # fmt: skip


def json_line(row: Row) -> str:
    """Return the row as the one line of JSON that is written, hashed and compared."""
    return json.dumps(columns(row), ensure_ascii=False)
