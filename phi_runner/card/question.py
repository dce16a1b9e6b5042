"""Whether answers depend on the questions: the loss of an answer after its own question, and after another row's.

A model that has learnt answers without their questions, as from a file whose answers were shuffled, can still lower the
held-out loss: it learns how answers sound. What its own question saves an answer it cannot lower.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from phi_runner.model import tokens
from phi_runner.model.tokens import Dialogue, TokenRows

_MOST_ROWS = 32
"""Rows that are asked twice: enough to tell whether questions matter at all, and no second held-out loss."""


class Swapped(NamedTuple):
    """The same answers twice, row by row: after their own question and after another's."""

    own: TokenRows
    other: TokenRows


def last_answer(dialogue: Dialogue) -> tuple[Dialogue, str]:
    """Split a dialogue before its last answer."""
    last = max(position for position, message in enumerate(dialogue) if message["role"] == "assistant")
    return dialogue[:last], dialogue[last]["content"]


def swapped(tokenizer: Any, dialogues: Sequence[Dialogue], *, max_length: int) -> Swapped | None:
    """Return the token rows of last answers after both questions; None where no two rows differ in their answers.

    Only last turns are asked: what was said before them would tell a model which row it is in.
    """
    turns = [(question[-1:], answer) for question, answer in map(last_answer, dialogues[:_MOST_ROWS])]
    pairs = [(number, other) for number in range(len(turns)) if (other := _next_other(turns, number)) is not None]
    both = [
        ([*turns[number][0], _said(turns[number][1])], [*turns[other][0], _said(turns[number][1])])
        for number, other in pairs
    ]
    fitting = [pair for pair in both if _longest(tokenizer, pair) <= max_length]
    if not fitting:
        return None
    return Swapped(
        *(tokens.tokenise(tokenizer, side, max_length=max_length) for side in zip(*fitting, strict=True))
    )  # fmt: skip


def _said(answer: str) -> dict[str, str]:
    return {"role": "assistant", "content": answer}


def _next_other(turns: Sequence[tuple[Dialogue, str]], number: int) -> int | None:
    """Return the next row whose answer and question are both others."""
    question, answer = turns[number]
    following = ((number + step) % len(turns) for step in range(1, len(turns)))
    return next((place for place in following if turns[place][1] != answer and turns[place][0] != question), None)


def _longest(tokenizer: Any, dialogues: Sequence[Dialogue]) -> int:
    texts = [tokenizer.apply_chat_template(list(dialogue), tokenize=False) for dialogue in dialogues]
    return max(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
