"""The dialogue with the endpoint: streaming, history, and every way in which the endpoint says no."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from phi_runner.chat.dialogue import Dialogue
from phi_runner.chat.wire import TurnFailed, answer_in
from phi_runner.config.schema import ChatConfig
from phi_runner.errors import DeployFailed
from tests.flow.standin import KEY, StandIn


@pytest.fixture
def dialogue(endpoint: StandIn) -> Iterator[Dialogue]:
    with Dialogue(endpoint.endpoint, key=KEY, config=ChatConfig(max_new_tokens=9, temperature=0.5)) as opened:
        yield opened


def test_answer_arrives_in_pieces_and_joins_the_history(endpoint: StandIn, dialogue: Dialogue):
    assert list(dialogue.answer("Hello there")) == ["Hello", " there", " [0", " before]"]
    assert "".join(dialogue.answer("Again")) == "Again [2 before]"
    assert dialogue.history[1] == {"role": "assistant", "content": "Hello there [0 before]"}
    sent = endpoint.behaviour.bodies[0]
    assert sent["messages"] == [{"role": "user", "content": "Hello there"}]
    assert (sent["stream"], sent["max_tokens"], sent["temperature"]) == (True, 9, 0.5)


def test_reader_that_stops_early_keeps_what_was_said(dialogue: Dialogue):
    with closing(dialogue.answer("one two three")) as pieces:
        next(pieces)
        next(pieces)
    assert dialogue.history[-1] == {"role": "assistant", "content": "one two"}


def test_answer_of_full_length_is_told(endpoint: StandIn, dialogue: Dialogue):
    endpoint.behaviour.finish = "length"
    list(dialogue.answer("x"))
    assert dialogue.cut
    endpoint.behaviour.finish = "stop"
    list(dialogue.answer("x"))
    assert not dialogue.cut


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "the endpoint is busy (429): ask again in 7 s"),
        (422, "the endpoint refuses this dialogue (422): the reason; start a new one"),
        (500, "the endpoint failed (500): the reason"),
    ],
)
def test_turn_that_fails_leaves_the_history_alone(endpoint: StandIn, dialogue: Dialogue, status: int, words: str):
    endpoint.behaviour.status = status
    with pytest.raises(TurnFailed) as caught:
        list(dialogue.answer("x"))
    assert str(caught.value) == words
    assert dialogue.history == []


def test_answer_that_breaks_off_is_no_answer(endpoint: StandIn, dialogue: Dialogue):
    endpoint.behaviour.break_off = True
    with pytest.raises(TurnFailed, match="the endpoint broke off its answer"):
        list(dialogue.answer("x"))
    assert dialogue.history == []


def test_wrong_key_ends_the_chat(endpoint: StandIn):
    with (
        Dialogue(endpoint.endpoint, key="wrong", config=ChatConfig()) as dialogue,
        pytest.raises(
            DeployFailed, match=r"refuses the key \(401\): start it again, with deploy among the stages"
        ) as caught,
    ):
        list(dialogue.answer("x"))
    assert not isinstance(caught.value, TurnFailed)


def test_endpoint_that_is_gone_ends_the_chat(endpoint: StandIn, dialogue: Dialogue):
    endpoint.die()
    with pytest.raises(DeployFailed, match=r"http://127.0.0.1:\d+ is gone \(ConnectError\): start it again") as caught:
        list(dialogue.answer("x"))
    assert not isinstance(caught.value, TurnFailed)


def test_path_that_is_no_chat_endpoint_is_told(endpoint: StandIn, dialogue: Dialogue):
    endpoint.behaviour.status = 404
    with pytest.raises(DeployFailed, match=r"is not a chat endpoint \(404\)"):
        list(dialogue.answer("x"))


def test_proxy_of_the_user_does_not_stand_before_this_machine(endpoint: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Dialogue(endpoint.endpoint, key=KEY, config=ChatConfig()) as dialogue:
        assert "".join(dialogue.answer("Hi")) == "Hi [0 before]"


@pytest.mark.parametrize("chat_form", [True, False])
def test_behind_azures_gateway_the_dialogue_goes_to_score(endpoint: StandIn, chat_form: bool):
    remote = replace(endpoint.endpoint, resource="/subscriptions/s/onlineEndpoints/phi", chat_form=chat_form)
    with Dialogue(remote, key=KEY, config=ChatConfig(max_new_tokens=9)) as dialogue:
        assert list(dialogue.answer("Hello there")) == ["Hello there [0 before]"]
        assert "".join(dialogue.answer("Again")) == ("Again [2 before]" if chat_form else "Again [0 before]")
    parameters = {"max_new_tokens": 9}
    asked = endpoint.behaviour.bodies[0]
    if chat_form:
        turn = [{"role": "user", "content": "Hello there"}]
        assert asked == {"input_data": {"input_string": turn, "parameters": parameters | {"temperature": 0.0}}}
    else:
        params = parameters | {"do_sample": False, "return_full_text": False}
        assert asked == {"input_data": ["Hello there"], "params": params}


@pytest.mark.parametrize(
    ("text", "answer"), [('["a"]', "a"), ('[{"0": "a"}]', "a"), ('{"output": "a"}', "a"), ('["",1]', "")]
)
def test_every_form_of_azures_images_is_understood(text: str, answer: str):
    assert answer_in(text) == answer


@pytest.mark.parametrize("text", ["[]", "{}", "<html>", '{"message": "x"}'])
def test_another_form_is_told(text: str):
    with pytest.raises(TurnFailed, match="answered in another form than promised"):
        answer_in(text)
