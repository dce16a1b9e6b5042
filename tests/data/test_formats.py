"""Formats: told apart by field names, and all of them end in the same turns."""

import json

import pytest

from phi_runner.config.schema import RowFormat
from phi_runner.data.formats import detect, turns_of
from phi_runner.data.rows import Turn, Unusable

QUESTION, ANSWER = Turn("user", "2 + 2?"), Turn("assistant", "4")
MESSAGES = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4", "weight": 1}]


def spoken(asking: str, answering: str) -> list[dict[str, str]]:
    """Return ShareGPT's turns, with its names for who speaks."""
    return [{"from": asking, "value": "2 + 2?"}, {"from": answering, "value": "4"}]


SPELLED = [
    ({"messages": MESSAGES, "prompt": "2 + 2?", "prompt_id": "a", "response": "4"}, RowFormat.messages),
    ({"messages": json.dumps(MESSAGES)}, RowFormat.messages),
    ({"conversations": spoken("human", "gpt"), "id": 1}, RowFormat.conversations),
    ({"conversations": spoken("user", "assistant")}, RowFormat.conversations),
    ({"instruction": "2 + 2?", "input": "", "output": "4"}, RowFormat.instruction),
    ({"instruction": "2 + 2?", "output": "4"}, RowFormat.instruction),
    ({"prompt": "2 + 2?", "completion": "4"}, RowFormat.prompt),
    ({"prompt": "2 + 2?", "response": "4"}, RowFormat.prompt),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "known"), SPELLED)
def test_every_spelling_is_detected_and_means_the_same_turns(fields: dict, known: RowFormat) -> None:
    assert detect(fields) is known
    assert turns_of(fields, spelling=known) == [QUESTION, ANSWER]


@pytest.mark.parametrize("fields", [(), ("text",), ("instruction", "input"), ("prompt", "chosen"), ("Messages",)])
def test_unknown_fields_are_no_format(fields: tuple[str, ...]) -> None:
    assert detect(fields) is None


def test_sharegpt_system_turn_and_unknown_speakers_keep_their_names() -> None:
    turns = [{"from": "system", "value": "Be brief."}, {"from": "tool", "value": "{}"}, {"from": 3, "value": ""}]
    found = turns_of({"conversations": turns}, spelling=RowFormat.conversations)
    assert [turn.role for turn in found] == ["system", "tool", 3]


def test_alpacas_input_follows_its_instruction() -> None:
    found = turns_of({"instruction": "Translate.", "input": "Haus", "output": "house"}, spelling=RowFormat.instruction)
    assert found == [Turn("user", "Translate.\n\nHaus"), Turn("assistant", "house")]


@pytest.mark.parametrize(
    ("fields", "spelling", "reason"),
    [
        ({"text": "hello"}, RowFormat.messages, "no field 'messages'"),
        ({"messages": None}, RowFormat.messages, "'messages' is not a list"),
        ({"messages": "hello"}, RowFormat.messages, "'messages' is text that is not JSON"),
        ({"messages": '{"role": "user"}'}, RowFormat.messages, "'messages' is not a list"),
        ({"messages": ["hello"]}, RowFormat.messages,
         "a turn in 'messages' is not an object with 'role' and 'content'"),
        ({"conversations": [{"role": "user", "content": "a"}]}, RowFormat.conversations,
         "a turn in 'conversations' is not an object with 'from' and 'value'"),
        ({"instruction": "a"}, RowFormat.instruction, "no field 'output'"),
        ({"prompt": "a"}, RowFormat.prompt, "no field 'completion'"),
    ],
)  # fmt: skip
def test_a_row_of_another_shape_is_unusable(fields: dict, spelling: RowFormat, reason: str) -> None:
    with pytest.raises(Unusable) as raised:
        turns_of(fields, spelling=spelling)
    assert str(raised.value) == reason
