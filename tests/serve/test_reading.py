"""Bodies: what is JSON comes out as Python reads it, and nothing that two parsers could read differently."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from phi_runner.serve.chat_body import ChatRequest
from phi_runner.serve.reading import parsed
from phi_runner.serve.refusals import Refusal, path_of
from phi_runner.serve.score_body import ScoreRequest

NAMES = st.text(st.characters(codec="utf-8"), max_size=5)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=10)
SENT = st.sampled_from(
    ["input_data", "inputs", "params", "parameters", "input_string", "messages", "stop", "seed", "n"]
)
NEARLY = st.recursive(
    LEAVES | st.just({"role": "user", "content": "hi"}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SENT, inner, max_size=4),
    max_leaves=12,
)


@given(value=VALUES, bom=st.booleans())
def test_json_is_read_as_it_was_written(value: object, bom: bool) -> None:
    body = json.dumps(value).encode("utf-8-sig" if bom else "utf-8")
    assert parsed(body) == json.loads(body.decode("utf-8-sig"))


@given(body=st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(Refusal):
        parsed(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "c: given twice"), (b'["\xff"]', "byte 2 is no UTF-8"),
        (b"[" * 100_000, "nested too deeply"), (b"1" * 5000, "Exceeds the limit"), (b"", "Expecting value"),
        (b'{"\\ud800": 1}', "half of a surrogate pair"), ('{"a": 1}'.encode("utf-16"), "no UTF-8"),
    ],
)  # fmt: skip
def test_a_body_that_could_be_read_in_two_ways_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        parsed(body)


@given(body=NEARLY)
def test_every_fault_of_a_body_has_a_place_and_a_reason(body: object) -> None:
    for shape in (ChatRequest, ScoreRequest):
        try:
            shape.model_validate(body)
        except ValidationError as err:
            fault = err.errors(include_url=False)[0]
            assert path_of(("body", *fault["loc"])) is not None
            assert fault["msg"]


@given(turns=st.lists(st.sampled_from(["system", "user", "assistant"]), min_size=1, max_size=6), text=NAMES)
def test_both_forms_and_both_names_ask_the_same(turns: list[str], text: str) -> None:
    messages = [{"role": role, "content": text} for role in turns]
    flat = ScoreRequest.model_validate({"input_data": {"input_string": messages}})
    nested = ScoreRequest.model_validate({"input_data": {"input_string": [messages]}})
    asked, again = flat.asked()[1], nested.asked()[1]
    assert asked == again
    assert len(asked) == len(turns)


def test_parameters_beside_the_input_win_and_are_named() -> None:
    turn = [{"role": "user", "content": "hi"}]
    body = {
        "input_data": {"input_string": turn, "parameters": {"max_new_tokens": 3}},
        "params": {"max_new_tokens": 9, "temperature": 0.5}, "parameters": {"seed": 1},
    }  # fmt: skip
    limit, parameters = ScoreRequest.model_validate(body).settings()
    assert limit == "input_data.parameters.max_new_tokens"
    assert (parameters.max_new_tokens, parameters.temperature, parameters.seed) == (3, 0.5, 1)
