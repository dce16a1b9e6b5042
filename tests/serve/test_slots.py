"""Limits: how many answers at a time, how long one may wait and take, and who frees a slot."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from tests.serve.engines import BrokenEngine, MuteEngine, SlowEngine
from tests.serve.rig import KEY, serving, until

FOREVER: dict[str, object] = {"input_data": ["go on"], "params": {"max_new_tokens": 500}}
SHORT = {"input_data": ["hello"], "params": {"max_new_tokens": 3}}
STREAM: dict[str, object] = {"messages": [{"role": "user", "content": "go on"}], "max_tokens": 500, "stream": True}


def test_no_more_answers_at_a_time_than_slots() -> None:
    engine = SlowEngine(pause_s=0.02)
    with serving(engine, max_concurrent=2) as client, ThreadPoolExecutor(6) as threads:
        statuses = list(threads.map(lambda _: client.post("/score", json=SHORT).status_code, range(6)))
    assert statuses == [200] * 6
    assert engine.most_busy == 2


def test_a_request_that_waits_too_long_for_a_slot_gets_429() -> None:
    engine = SlowEngine()
    with serving(engine, max_concurrent=1, max_queue_wait_s=0.1) as client, ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.post, "/score", json=FOREVER | {"params": {"max_new_tokens": 60}})
        assert until(lambda: engine.busy == 1)
        second = client.post("/score", json=SHORT)
        assert (second.status_code, second.headers["Retry-After"]) == (429, "1")
        assert "max_queue_wait_s=0.1" in second.json()["error"]["message"]
        assert first.result().status_code == 200
        assert client.post("/score", json=SHORT).status_code == 200


def test_an_answer_that_takes_too_long_gets_408_and_frees_its_slot() -> None:
    engine = SlowEngine()
    with serving(engine, max_concurrent=1, request_timeout_s=0.2) as client:
        begun = time.monotonic()
        response = client.post("/score", json=FOREVER)
        assert (response.status_code, time.monotonic() - begun < 2) == (408, True)
        assert "request_timeout_s=0.2" in response.json()["error"]["message"]
        assert client.post("/score", json=SHORT).status_code == 200
        assert until(lambda: engine.busy == 0)


def test_a_stream_that_takes_too_long_ends_with_an_error_event() -> None:
    with serving(SlowEngine(), request_timeout_s=0.2) as endpoint:
        client = openai.OpenAI(base_url=f"{endpoint.base_url}/v1", api_key=KEY, max_retries=0)
        stream = client.chat.completions.create(**{**STREAM, "model": ""})  # type: ignore[call-overload]
        with pytest.raises(openai.APIError, match=r"request_timeout_s=0\.2"):
            assert list(stream)


@pytest.mark.parametrize(("path", "body"), [("/score", FOREVER), ("/v1/chat/completions", STREAM)])
def test_a_client_that_hangs_up_frees_its_slot(path: str, body: dict[str, object]) -> None:
    engine = SlowEngine(pause_s=0.05)
    with serving(engine, max_concurrent=1) as client:
        _hang_up(client, path, body)
        assert until(lambda: engine.busy == 0, within_s=2)
        assert client.post("/score", json=SHORT).status_code == 200


def test_a_client_that_hangs_up_in_the_queue_leaves_it() -> None:
    engine = SlowEngine(pause_s=0.02)
    with serving(engine, max_concurrent=1) as client, ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.post, "/score", json=FOREVER | {"params": {"max_new_tokens": 40}})
        assert until(lambda: engine.busy == 1)
        _hang_up(client, "/score", FOREVER)
        begun = time.monotonic()
        assert first.result().status_code == 200
        assert client.post("/score", json=SHORT).status_code == 200
        assert time.monotonic() - begun < 3


def _hang_up(client: httpx.Client, path: str, body: dict[str, object]) -> None:
    """Ask, listen for a moment, and close the connection."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=client.base_url, headers=headers, trust_env=False, timeout=0.3) as impatient:
        if not body.get("stream"):
            with pytest.raises(httpx.ReadTimeout):
                impatient.post(path, json=body)
            return
        with impatient.stream("POST", path, json=body) as response:
            assert next(response.iter_lines()).startswith("data: ")


def test_an_engine_that_fails_is_a_500_and_frees_its_slot(caplog: pytest.LogCaptureFixture) -> None:
    with serving(BrokenEngine(), max_concurrent=1, max_queue_wait_s=0.5) as client:
        for _ in range(3):
            response = client.post("/score", json=SHORT)
            assert (response.status_code, response.json()["error"]["type"]) == (500, "engine_failed")
            assert "secret" not in response.text


def test_the_request_after_a_full_queue_gets_429_at_once_with_a_measured_pause() -> None:
    engine = SlowEngine(pause_s=0.02)
    with serving(engine, max_concurrent=1, max_queue=2) as client, ThreadPoolExecutor(3) as threads:
        longer = SHORT | {"params": {"max_new_tokens": 60}}  # 1.2 s
        assert client.post("/score", json=longer).status_code == 200
        waiting = [threads.submit(client.post, "/score", json=longer) for _ in range(3)]
        assert until(lambda: "phi_queue_length 2.0" in client.get("/metrics").text)
        begun = time.monotonic()
        refused = client.post("/score", json=SHORT)
        assert (refused.status_code, time.monotonic() - begun < 1) == (429, True)
        assert "max_queue=2" in refused.json()["error"]["message"]
        assert int(refused.headers["Retry-After"]) >= 3  # three answers of a second are still to be given
        assert [request.result().status_code for request in waiting] == [200] * 3
        assert client.post("/score", json=SHORT).status_code == 200


def test_texts_of_one_request_are_answered_side_by_side_and_in_order() -> None:
    engine = SlowEngine(pause_s=0.02)
    texts = {"input_data": ["one", "two", "three", "four", "five"], "params": {"max_new_tokens": 5}}
    with serving(engine, max_concurrent=3) as client:
        full = client.post("/score", json=texts | {"params": {"max_new_tokens": 5, "return_full_text": True}})
    assert engine.most_busy == 3
    assert full.json() == [text + "word " * 5 for text in texts["input_data"]]


def test_a_request_with_many_texts_takes_turns_with_others() -> None:
    engine = SlowEngine(pause_s=0.02)
    many = {"input_data": [f"many {number}" for number in range(12)], "params": {"max_new_tokens": 10}}
    with serving(engine, max_concurrent=2) as client, ThreadPoolExecutor(3) as threads:
        first = threads.submit(client.post, "/score", json=many)
        assert until(lambda: engine.busy == 2)
        others = [threads.submit(client.post, "/score", json=SHORT) for _ in range(2)]
        assert [other.result().json() for other in others] == [["word " * 3]] * 2
        assert not first.done()
        assert len(first.result().json()) == 12
    assert max(place for place, asked in enumerate(engine.order) if asked == "hello") < 7


def test_texts_that_take_too_long_together_get_408_and_free_their_slots() -> None:
    engine = SlowEngine(pause_s=0.02)
    many = {"input_data": ["go on"] * 20, "params": {"max_new_tokens": 10}}
    with serving(engine, max_concurrent=2, request_timeout_s=0.5) as client:
        assert client.post("/score", json=many).status_code == 408
        assert until(lambda: engine.busy == 0)
        assert client.post("/score", json=SHORT).status_code == 200


def test_what_goes_wrong_before_the_first_word_of_a_stream_has_a_status_of_its_own() -> None:
    with serving(MuteEngine()) as client:
        response = client.post("/v1/chat/completions", json=STREAM)
        assert (response.status_code, response.json()["error"]["type"]) == (500, "engine_failed")
    with serving(SlowEngine(pause_s=5), request_timeout_s=0.2) as client:
        assert client.post("/v1/chat/completions", json=STREAM).status_code == 408


def test_an_answer_that_fails_leaves_the_others_alone() -> None:
    engine = SlowEngine(pause_s=0.02, fails_on="fail")
    with serving(engine, max_concurrent=2) as client, ThreadPoolExecutor(1) as threads:
        other = threads.submit(client.post, "/score", json=SHORT | {"params": {"max_new_tokens": 40}})
        assert until(lambda: engine.busy == 1)
        for _ in range(3):
            assert client.post("/score", json=SHORT | {"input_data": ["fail"]}).status_code == 500
        assert other.result().json() == ["word " * 40]


def test_a_stream_nobody_reads_keeps_no_slot() -> None:
    engine = SlowEngine(pause_s=0)
    with (
        serving(engine, max_concurrent=1) as client,
        client.stream("POST", "/v1/chat/completions", json=STREAM | {"max_tokens": 400}) as unread,
    ):
        assert unread.status_code == 200
        assert until(lambda: engine.busy == 0)
        assert client.post("/score", json=SHORT).status_code == 200
        assert [line for line in unread.iter_lines() if line][-1] == "data: [DONE]"
