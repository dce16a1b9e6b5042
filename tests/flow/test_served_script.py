"""The flow as plain files, served with Prompt flow's own contract: plain Python, and the agent in its environment."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from phi_runner import processes
from phi_runner.config.schema import AgentFlow, PlainFlow
from phi_runner.flow import page
from phi_runner.flow.script import ScriptBackEnd
from phi_runner.processes import Running
from tests.flow import standin
from tests.flow.conftest import Rig, make_rig
from tests.flow.standin import KEY


@pytest.fixture(scope="module", params=["plain", pytest.param("agent_framework", marks=pytest.mark.slow)])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Running]]:
    """A served flow, in both forms that we serve ourselves."""
    agent = request.param == "agent_framework"
    python = request.getfixturevalue("agent_python") if agent else sys.executable
    outputs = tmp_path_factory.mktemp("outputs")
    with standin.running(outputs) as endpoint:
        rig = make_rig(outputs, endpoint, AgentFlow() if agent else PlainFlow())
        back_end = ScriptBackEnd(python=python, spec=rig.spec, connection=rig.connection, outputs=outputs)
        running = page.serve(
            back_end.server(rig.folder), name=request.param, host="127.0.0.1", port=0,
            outputs=outputs, detach=False,
        )  # fmt: skip
        yield rig, running
        processes.stop_recorded(running, outputs=outputs)


@pytest.fixture
def flow(served: tuple[Rig, Running]) -> Iterator[tuple[httpx.Client, standin.Behaviour]]:
    """A client of the served flow, and what the endpoint behind it does."""
    rig, running = served
    rig.standin.behaviour.bodies.clear()
    with httpx.Client(base_url=running.url) as client:
        yield client, rig.standin.behaviour
    for name in ("status", "pause_s", "break_off", "words_sent"):
        setattr(rig.standin.behaviour, name, getattr(standin.Behaviour(), name))


def test_served_flow_answers_as_prompt_flow_does(flow: tuple[httpx.Client, standin.Behaviour]):
    client, behaviour = flow
    first = client.post("/score", json={"input_data": "Who founded Microsoft?"})
    assert first.json() == {"answer": "Who founded Microsoft? [0 before]"}
    turn = {"inputs": {"input_data": "Who founded Microsoft?"}, "outputs": first.json()}
    lost = {"inputs": {"input_data": "lost"}, "outputs": None}
    second = client.post("/score", json={"input_data": "And when?", "chat_history": [turn, lost]})
    assert second.json() == {"answer": "And when? [2 before]"}
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "a"}]
    third = client.post("/score", json={"input_data": "b", "chat_history": messages})
    assert third.json() == {"answer": "b [2 before]"}
    assert behaviour.bodies[-1]["messages"] == [*messages, {"role": "user", "content": "b"}]
    assert client.post("/score", json={}).json() == {"answer": "Who founded Microsoft? [0 before]"}


def test_health_and_description(flow: tuple[httpx.Client, standin.Behaviour]):
    client, _behaviour = flow
    assert client.get("/health").json() == {"status": "Healthy", "flow": "chat-with-phi"}
    assert list(client.get("/swagger.json").json()["paths"]) == ["/score"]
    assert client.get("/elsewhere").json()["error"] == {"code": "UserError", "message": "Not Found"}


def test_answer_is_streamed_to_who_accepts_a_stream(flow: tuple[httpx.Client, standin.Behaviour]):
    client, behaviour = flow
    behaviour.pause_s = 0.2
    headers = {"Accept": "text/event-stream"}
    seen: list[tuple[float, str]] = []
    with client.stream("POST", "/score", json={"input_data": "Hello there"}, headers=headers) as reply:
        for line in reply.iter_lines():
            if line:
                seen.append((time.monotonic(), json.loads(line.removeprefix("data: "))["answer"]))
    assert [piece for _at, piece in seen] == ["Hello", " there", " [0", " before]"]
    assert seen[-1][0] - seen[0][0] > 0.4


@pytest.mark.parametrize(
    ("status", "told", "words"),
    [(429, 429, "busy"), (422, 422, "too long"), (401, 502, "key is not accepted"), (503, 503, "the reason")],
)
def test_refusal_has_a_status_and_a_reason_also_where_a_stream_was_asked_for(
    flow: tuple[httpx.Client, standin.Behaviour], status: int, told: int, words: str
):
    client, behaviour = flow
    behaviour.status = status
    for headers in ({}, {"Accept": "text/event-stream"}):
        reply = client.post("/score", json={"input_data": "Hello?"}, headers=headers)
        assert reply.status_code == told
        assert words in reply.json()["error"]["message"]
        assert reply.headers.get("retry-after") == ("7" if status == 429 else None)


def test_answer_that_breaks_off_is_an_error_and_no_shorter_answer(flow: tuple[httpx.Client, standin.Behaviour]):
    client, behaviour = flow
    behaviour.break_off = True
    reply = client.post("/score", json={"input_data": "Hello?"})
    assert reply.status_code == 502
    assert "broke off its answer" in reply.json()["error"]["message"]
    streamed = client.post("/score", json={"input_data": "Hello?"}, headers={"Accept": "text/event-stream"}).text
    assert "broke off its answer" in json.loads(streamed.strip().rpartition("data: ")[2])["error"]["message"]


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_client_that_hangs_up_ends_the_answer_at_the_endpoint(
    flow: tuple[httpx.Client, standin.Behaviour], accept: str
):
    client, behaviour = flow
    behaviour.pause_s = 0.1
    asked = {"json": {"input_data": "word " * 100}, "headers": {"Accept": accept}, "timeout": 0.5}
    with contextlib.suppress(httpx.ReadTimeout), client.stream("POST", "/score", **asked) as reply:
        next(reply.iter_lines())
    time.sleep(0.4)
    sent = behaviour.words_sent
    time.sleep(0.3)
    assert behaviour.words_sent == sent < 50


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"{", 400, "the body is no JSON text"),
        (b"[" * 100_000, 400, "the body is no JSON text"),
        (b'{"input_data": "\\ud800"}', 400, "the body is no JSON text"),
        (b"[]", 422, "must be an object"),
        (b'{"question": "x"}', 422, "question: there is no such field"),
        (b'{"input_data": 7}', 422, "input_data: must be a text"),
        (b'{"input_data": " "}', 422, "input_data: must be a text"),
        (b'{"input_data": "x", "chat_history": {}}', 422, "chat_history: must be a list"),
        (b'{"input_data": "x", "chat_history": [7]}', 422, r"chat_history[0]: must be "),
        (b'{"input_data": "x", "chat_history": [{"inputs": {"input_data": 7}}]}', 422, "chat_history[0]: must be "),
        (b'{"input_data": "x", "chat_history": [{"role": "boss", "content": ""}]}', 422, "chat_history[0]: must be "),
        (b'{"input_data": "' + b"x" * (1 << 20) + b'"}', 413, "longer than 1048576 bytes"),
    ],
)
def test_malformed_body_names_the_field_and_reaches_no_endpoint(
    flow: tuple[httpx.Client, standin.Behaviour], content: bytes, status: int, words: str
):
    client, behaviour = flow
    reply = client.post("/score", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]
    assert behaviour.bodies == []


def test_no_page_of_another_origin_can_ask_or_read(flow: tuple[httpx.Client, standin.Behaviour]):
    client, behaviour = flow
    origin = {"Origin": "http://elsewhere.example"}
    reply = client.post("/score", content=b'{"input_data": "x"}', headers={**origin, "Content-Type": "text/plain"})
    assert reply.status_code == 415
    assert behaviour.bodies == []
    reply = client.post("/score", json={"input_data": "x"}, headers=origin)
    assert "access-control-allow-origin" not in reply.headers


def test_key_is_read_for_every_question_and_is_nowhere_to_be_seen(served: tuple[Rig, Running]):
    rig, running = served
    assert rig.connection.key_file is not None
    process = psutil.Process(running.pid)
    assert KEY not in " ".join(process.cmdline()) + str(process.environ()) + Path(running.log).read_text()
    rig.connection.key_file.write_text("another")
    try:
        refused = httpx.post(f"{running.url}/score", json={"input_data": "x"})
    finally:
        rig.connection.key_file.write_text(KEY)
    assert "the key is not accepted" in refused.json()["error"]["message"]
    assert httpx.post(f"{running.url}/score", json={"input_data": "x"}).is_success
