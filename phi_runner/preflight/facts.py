"""What is kept of each row: fixed numbers in arrays, the text on disk."""

import hashlib
import uuid
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from phi_runner.data.rows import Dialogue, Row
from phi_runner.data.spool import Spool
from phi_runner.preflight.words import asked, words

_OPENING_WORDS = 6
_READ = 1_000
"""Characters of an answer that its first words are looked for in."""
_LEAST_WORDS = 4
"""Of an answer that may be boilerplate: a label (`B`, `positive`) is right for many questions."""
_ANSWERS_KEPT = 8

Numbers = np.ndarray[Any, np.dtype[np.uint64]]


def hashed(text: str) -> int:
    """Return 64 bits of a text's hash; 0 stands for nothing."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") if text else 0


@dataclass(slots=True)
class Facts:
    """Numbers of the usable rows, by their position; a row's text and place are read back from a file."""

    folder: Path
    spool: Spool = field(init=False)
    digests: "array[int]" = field(default_factory=lambda: array("Q"))
    questions: "array[int]" = field(default_factory=lambda: array("Q"))
    """All turns before the last answer, but for the system's."""
    systems: "array[int]" = field(default_factory=lambda: array("Q"))
    replies: "array[int]" = field(default_factory=lambda: array("Q"))
    """The last answer."""
    characters: "array[int]" = field(default_factory=lambda: array("I"))
    held_out: "array[int]" = field(default_factory=lambda: array("B"))
    answers: "array[int]" = field(default_factory=lambda: array("Q"))
    """Answers long enough to be boilerplate; beside them their rows, their questions, the words they open with."""
    answer_rows: "array[int]" = field(default_factory=lambda: array("I"))
    answered: "array[int]" = field(default_factory=lambda: array("Q"))
    openings: "array[int]" = field(default_factory=lambda: array("Q"))

    def __post_init__(self) -> None:
        self.spool = Spool(self.folder / f".{uuid.uuid4().hex}.rows")

    def __len__(self) -> int:
        return len(self.digests)

    def add(self, dialogue: Dialogue, *, place: str, digest: int, held_out: bool) -> None:
        """Keep a row: its dialogue, of a pair the prompt with the chosen answer."""
        position = len(self.digests)
        self.spool.append(cast("Row", [place, *dialogue]))
        self.digests.append(digest)
        self.questions.append(hashed("\n".join(asked(m["content"]) for m in dialogue[:-1] if m["role"] != "system")))
        self.systems.append(hashed(system_of(dialogue)))
        self.replies.append(hashed(asked(dialogue[-1]["content"])))
        self.characters.append(sum(len(message["content"]) for message in dialogue))
        self.held_out.append(held_out)
        for said in stock(dialogue):
            self.answers.append(said.whole)
            self.openings.append(said.opening)
            self.answered.append(hashed(asked(said.question)))
            self.answer_rows.append(position)

    def column(self, name: str) -> Numbers:
        """Return one of the arrays for numpy, without copying it."""
        held: array[int] = getattr(self, name)
        return np.frombuffer(held, dtype=f"u{held.itemsize}") if held else np.empty(0, np.uint64)

    def row(self, position: int) -> tuple[str, Dialogue]:
        """Return where a row stands, and its dialogue."""
        place, *dialogue = cast("list[Any]", self.spool[position])
        return place, dialogue

    def close(self) -> None:
        """Free the disk."""
        self.spool.close()


class Said(NamedTuple):
    """An answer that may be boilerplate, with its question and the hashes of all of it and of its first words."""

    question: str
    answer: str
    whole: int
    opening: int
    """0: the answer is hardly longer than its opening would be."""


def stock(dialogue: Dialogue) -> Iterator[Said]:
    """Yield the answers that may be boilerplate."""
    turns = [pair for pair in pairwise(dialogue) if pair[1]["role"] == "assistant"]
    for question, answer in turns[-_ANSWERS_KEPT:]:
        found = words(answer["content"][:_READ])
        if len(found) >= _LEAST_WORDS:
            opening = found[:_OPENING_WORDS] if len(found) > _OPENING_WORDS else []
            whole = hashed(asked(answer["content"]))
            yield Said(question["content"], answer["content"], whole, hashed(" ".join(opening)))


def system_of(dialogue: Dialogue) -> str:
    """Return the system prompt, or nothing."""
    return dialogue[0]["content"].strip() if dialogue[0]["role"] == "system" else ""


def said(dialogue: Dialogue) -> str:
    """Return a dialogue as a person reads it, but for the system prompt."""
    return "\n".join(message["content"] for message in dialogue if message["role"] != "system")
