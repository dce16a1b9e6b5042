"""The ways in which a row may spell a dialogue: told apart by field names, turned into turns."""

import json
from collections.abc import Collection, Mapping
from typing import assert_never

from phi_runner.config.schema import RowFormat
from phi_runner.data.rows import Turn, Unusable

_SPEAKERS = {"human": "user", "gpt": "assistant"}
_ANSWERS = ("completion", "response")

SPELLINGS = (
    "messages, conversations (ShareGPT), instruction + output (alpaca), prompt + completion, prompt + response, "
    "prompt + chosen + rejected (preference)"
)
"""The fields that each known format needs, for people."""


def detect(fields: Collection[str]) -> RowFormat | None:
    """Return the format that a row with these fields is in, or nothing.

    Preference pairs win, since ultrafeedback's rows hold the chosen dialogue as `messages` too; then `messages` does,
    as in ultrachat's rows.
    """
    if "chosen" in fields and "rejected" in fields:
        return RowFormat.preference
    if "messages" in fields:
        return RowFormat.messages
    if "conversations" in fields:
        return RowFormat.conversations
    if "instruction" in fields and "output" in fields:
        return RowFormat.instruction
    if "prompt" in fields and any(name in fields for name in _ANSWERS):
        return RowFormat.prompt
    return None


def turns_of(fields: Mapping[str, object], *, spelling: RowFormat) -> list[Turn]:
    """Return the turns of a row that is one dialogue; raises Unusable when it does not have its format's shape."""
    match spelling:
        case RowFormat.messages:
            return _listed(fields, "messages", role="role", content="content")
        case RowFormat.conversations:
            return spoken(fields)
        case RowFormat.instruction:
            return [Turn("user", instruction(fields)), Turn("assistant", _field(fields, "output"))]
        case RowFormat.prompt:
            answer = next((name for name in _ANSWERS if name in fields), _ANSWERS[0])
            return [Turn("user", _field(fields, "prompt")), Turn("assistant", _field(fields, answer))]
        case RowFormat.preference:
            raise ValueError("a pair is two dialogues: preference.py reads it")
        case RowFormat.auto:
            raise ValueError("the format of a source is detected before its rows are read")
        case unknown:
            assert_never(unknown)


def _field(fields: Mapping[str, object], name: str) -> object:
    if name not in fields:
        raise Unusable(f"no field {name!r}")
    return fields[name]


def spoken(fields: Mapping[str, object]) -> list[Turn]:
    """Return ShareGPT's turns, its speakers by their common names; raises Unusable."""
    turns = _listed(fields, "conversations", role="from", content="value")
    return [Turn(speaker(turn.role), turn.content) for turn in turns]


def _listed(fields: Mapping[str, object], name: str, *, role: str, content: str) -> list[Turn]:
    value = _field(fields, name)
    if isinstance(value, str):  # a table's column can hold the list as JSON text
        value = _from_json(value, name=name)
    if not isinstance(value, list):
        raise Unusable(f"{name!r} is not a list")
    if not all(isinstance(turn, dict) and role in turn and content in turn for turn in value):
        raise Unusable(f"a turn in {name!r} is not an object with {role!r} and {content!r}")
    return [Turn(turn[role], turn[content]) for turn in value]


def _from_json(text: str, *, name: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise Unusable(f"{name!r} is text that is not JSON") from err
    return value


def speaker(name: object) -> object:
    """Return the common name of who speaks, where ShareGPT has another; any other name is judged later."""
    return _SPEAKERS.get(name, name) if isinstance(name, str) else name


def instruction(fields: Mapping[str, object]) -> object:
    """Join alpaca's instruction and its optional input by a blank line; what is not text is judged later."""
    asked, context = _field(fields, "instruction"), fields.get("input")
    if isinstance(asked, str) and isinstance(context, str) and context.strip():
        return f"{asked}\n\n{context}"
    return asked
