"""Pairs of answers to one prompt: the ways in which a row may spell them, and which can be learned from."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from phi_runner.data.check import check
from phi_runner.data.formats import instruction, speaker, spoken
from phi_runner.data.rows import Dialogue, Pair, Turn, Unusable

NOT_SAME_PROMPT = "chosen and rejected do not answer the same prompt"
SAME_ANSWER = "chosen and rejected are the same answer"
_SPELLED = (("role", "content"), ("from", "value"))


class CheckedPair(NamedTuple):
    """A pair that can be learned from, and what was done to make it so."""

    row: Pair
    repairs: tuple[str, ...]


def check_pair(fields: Mapping[str, object]) -> CheckedPair:
    """Return the prompt and its two answers; raises Unusable with the reason why the row cannot be used.

    Each side is a text, the answer's turn, or a whole dialogue with the prompt in it; then `prompt` may be missing.
    """
    prompt = _prompt(fields)
    chosen, repairs = _dialogue(fields, "chosen", prompt=prompt)
    rejected, _same = _dialogue(fields, "rejected", prompt=prompt)
    if chosen[:-1] != rejected[:-1]:
        raise Unusable(NOT_SAME_PROMPT)
    if chosen[-1]["content"].strip() == rejected[-1]["content"].strip():
        raise Unusable(SAME_ANSWER)
    return CheckedPair(Pair(prompt=chosen[:-1], chosen=chosen[-1:], rejected=rejected[-1:]), repairs)


def _prompt(fields: Mapping[str, object]) -> list[Turn]:
    """Return the turns before the answer, as far as fields beside `chosen` and `rejected` tell them."""
    if "prompt" in fields:
        return _turns(fields["prompt"], name="prompt", said_by="user")
    if "instruction" in fields:
        return [Turn("user", instruction(fields))]
    return spoken(fields) if "conversations" in fields else []


def _dialogue(fields: Mapping[str, object], side: str, *, prompt: list[Turn]) -> tuple[Dialogue, tuple[str, ...]]:
    """Return the whole dialogue of one side; a fault in it is told with the side's name."""
    if side not in fields:
        raise Unusable(f"no field {side!r}")
    turns = _turns(fields[side], name=side, said_by="assistant")
    if len(turns) == 1 and turns[0].role == "assistant":
        if not prompt:
            raise Unusable(f"no field 'prompt', and {side!r} is an answer alone")
        turns = [*prompt, *turns]
    elif not _asked(prompt, turns):
        raise Unusable(f"the prompt is not the beginning of the dialogue in {side!r}")
    if turns and turns[-1].role != "assistant":
        raise Unusable(f"{side}: the last turn is not the assistant's")
    try:
        return check(turns)
    except Unusable as err:
        raise Unusable(f"{side}: {err}") from err


def _asked(prompt: Sequence[Turn], turns: Sequence[Turn]) -> bool:
    """Say whether a prompt told apart agrees with the dialogue: all turns before the answer, or one question of it."""
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0] in turns[:-1]
    return not prompt or list(prompt) == list(turns[:-1])


def _turns(value: object, *, name: str, said_by: str) -> list[Turn]:
    """Return a field's turns: a list of them, one alone, either as JSON in a table's column, or the speaker's text."""
    value = _from_json(value) if isinstance(value, str) else value
    if isinstance(value, str):
        return [Turn(said_by, value)]
    listed = [value] if isinstance(value, dict) else value
    if not isinstance(listed, list):
        raise Unusable(f"{name!r} is neither text nor a list of turns")
    found = [_turn(item) for item in listed]
    turns = [turn for turn in found if turn]
    if len(turns) < len(found):
        raise Unusable(f"a turn in {name!r} is not an object with 'role' and 'content'")
    return turns


def _turn(item: object) -> Turn | None:
    if not isinstance(item, dict):
        return None
    for role, content in _SPELLED:
        if role in item and content in item:
            return Turn(speaker(item[role]), item[content])
    return None


def _from_json(text: str) -> object:
    """Return the turns that a text spells as JSON; any other text is itself."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    items = value if isinstance(value, list) else [value]
    return value if items and all(_turn(item) for item in items) else text
