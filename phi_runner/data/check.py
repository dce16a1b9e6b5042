"""Is a dialogue one that can be learned from? What is wrong with it, in words that are counted."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from phi_runner.data.rows import Dialogue, Message, Turn, Unusable

NO_ASSISTANT = "no assistant turn"
TRIMMED = "trailing user turn trimmed"
EMPTY_SYSTEM = "empty system turn left out"

_ROLES = ("system", "user", "assistant")
_MARKER = re.compile(r"<\|/?\w+\|>")  # <|user|>, <|end|>, <|endoftext|>, <|/tool|> ...: a tokenizer reads it as control
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN_CHARACTERS = 40


class Checked(NamedTuple):
    """A dialogue that can be learned from, and what was done to make it so."""

    row: Dialogue
    repairs: tuple[str, ...]


def check(turns: Sequence[Turn]) -> Checked:
    """Return the dialogue, ending with the assistant; raises Unusable with the reason why it cannot be used."""
    if not turns:
        raise Unusable("no turns")
    messages = [_message(turn) for turn in turns]
    repairs = []
    if messages[0]["role"] == "system" and not messages[0]["content"].strip():
        messages, repairs = messages[1:], [EMPTY_SYSTEM]
    if not any(message["role"] == "assistant" for message in messages):
        raise Unusable(NO_ASSISTANT)
    _check_order([message["role"] for message in messages])
    if messages[-1]["role"] == "user":
        messages, repairs = messages[:-1], [*repairs, TRIMMED]
    for message in messages:
        _check_content(message)
    return Checked(messages, tuple(repairs))


def _message(turn: Turn) -> Message:
    if turn.role not in _ROLES:
        raise Unusable(f"role {_shown(turn.role)} is not system, user or assistant")
    if not isinstance(turn.content, str):
        raise Unusable("a turn whose content is not text")
    return Message(role=str(turn.role), content=turn.content)


def _check_order(roles: list[str]) -> None:
    spoken = roles[1:] if roles[0] == "system" else roles
    if "system" in spoken:
        raise Unusable("a system turn that is not the only and first one")
    if spoken[0] != "user":
        raise Unusable("the user does not speak first")
    if any(before == after for before, after in pairwise(spoken)):
        raise Unusable("user and assistant do not take turns")


def _check_content(message: Message) -> None:
    content = message["content"]
    if not content.strip():
        raise Unusable(f"an empty {message['role']} turn")
    marker = _MARKER.search(content)
    if marker:
        raise Unusable(f"the chat marker {_shown(marker[0])} inside a turn, which would become a control token")
    if _SURROGATE.search(content):
        raise Unusable("half a Unicode character (a lone surrogate) inside a turn")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
