"""How long dialogues and answers are in tokens, and what is left of them within the length limit."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phi_runner.data.rows import Pair, Row, columns
from phi_runner.model.tokens.block import IGNORED, Block, starts
from phi_runner.model.tokens.dialogues import batches
from phi_runner.model.tokens.encode import Encoder

_NO_LIMIT = 2**30
_LEAST_ANSWER = 8
"""As model.tokens.shorten and model.pairs have it: an answer cut to less is dropped."""
BYTES_PER_TOKEN = 3.6
_TOKENS_PER_TURN = 3

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(slots=True)
class Lengths:
    """Tokens of each dialogue (`whole`), those that are learnt of it, and both after the length limit: 0 is dropped."""

    whole: list[int] = field(default_factory=list)
    taught: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    kept_taught: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def add(self, whole: int, taught: int, kept: int, kept_taught: int) -> None:
        """Add a dialogue."""
        self.whole.append(whole)
        self.taught.append(taught)
        self.kept.append(kept)
        self.kept_taught.append(kept_taught)


def of_dialogues(tokenizer: Any, rows: Iterable[Row], *, max_length: int, assistant_only: bool) -> Lengths:
    """Return the lengths of supervised rows; raises TrainFailed where the answers cannot be told apart and must be."""
    found = Lengths()
    whole = Encoder(tokenizer, max_length=_NO_LIMIT, assistant_only=True)
    cut = Encoder(tokenizer, max_length=max_length, assistant_only=assistant_only)
    for number, batch in enumerate(batches(_messages(rows))):
        if number == 0:
            whole.learn(batch)
            cut.learn(batch)
        block = whole.encode(batch)
        found.answers += _answers(block)
        each = zip(batch, block.lengths.tolist(), _sums(block), strict=True)
        for dialogue, length, answers in each:
            taught = answers if assistant_only else length
            kept = (length, taught) if length <= max_length else _cut(cut, dialogue)
            found.add(length, taught, *kept)
    return found


def _messages(rows: Iterable[Row]) -> Iterator[Any]:
    """Yield dialogues, whose messages model.tokens knows as plain dictionaries."""
    return (columns(row)["messages"] for row in rows)


def _cut(encoder: Encoder, dialogue: Any) -> tuple[int, int]:
    block = encoder.encode([dialogue])
    return int(block.lengths.sum()), block.taught


def _sums(block: Block) -> list[int]:
    """Return how many tokens of each row belong to answers."""
    counted = np.concatenate(([0], np.cumsum(block.labels != IGNORED)))
    sums: list[int] = np.diff(counted[starts(block.lengths)]).tolist()
    return sums


def _answers(block: Block) -> list[int]:
    """Return the tokens of each answer; a row begins with its question, so that no two answers meet."""
    steps = np.diff(np.concatenate(([False], block.labels != IGNORED, [False])).astype(np.int8))
    lengths: list[int] = (np.flatnonzero(steps == -1) - np.flatnonzero(steps == 1)).tolist()
    return lengths


def of_pairs(tokenizer: Any, rows: Iterable[Pair], *, max_length: int) -> Lengths:
    """Return the lengths of preference pairs: the prompt with the longer answer; both answers are learnt."""
    found = Lengths()
    for row in rows:
        prompt, *answers = _pair(tokenizer, row)
        longest, room = max(answers), max_length - prompt
        kept = [min(answer, room) for answer in answers]
        dropped = longest > room and room < _LEAST_ANSWER
        found.answers += answers
        found.add(prompt + longest, sum(answers), 0 if dropped else prompt + max(kept), 0 if dropped else sum(kept))
    return found


def _pair(tokenizer: Any, row: Pair) -> tuple[int, int, int]:
    """Return the tokens of a pair's prompt and of its two answers."""
    prompt = row["prompt"]
    texts = [tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)]
    for answer in (row["chosen"], row["rejected"]):
        texts.append(tokenizer.apply_chat_template(prompt + answer, tokenize=False))
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    asked, chosen, rejected = map(len, encodings)
    return asked, chosen - asked, rejected - asked


def estimated(rows: Iterable[Row], *, max_length: int, assistant_only: bool) -> Lengths:
    """Return lengths guessed from bytes, for a model whose tokenizer is not here; a pair is its chosen side."""
    found = Lengths()
    for row in rows:
        turns = [(message["role"] == "assistant", _guess(message["content"])) for message in columns(row)["messages"]]
        found.answers += [size for answers, size in turns if answers]
        whole, taught = _sizes(turns)
        while sum(size for _answers, size in turns) > max_length and sum(answers for answers, _size in turns) > 1:
            turns = turns[: max(place for place, turn in enumerate(turns[:-1]) if turn[0]) + 1]
        kept, kept_taught = _sizes(turns)
        kept_taught = max(0, kept_taught - max(0, kept - max_length))
        kept = min(kept, max_length) if kept_taught >= _LEAST_ANSWER or kept <= max_length else 0
        if assistant_only:
            found.add(whole, taught, kept, kept_taught if kept else 0)
        else:
            found.add(whole, whole, kept, kept)
    return found


def _sizes(turns: Sequence[tuple[bool, int]]) -> tuple[int, int]:
    return sum(size for _answers, size in turns), sum(size for answers, size in turns if answers)


def _guess(text: str) -> int:
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN) + _TOKENS_PER_TURN
