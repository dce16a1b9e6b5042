"""The flow as plain files: asked as a person would, and served with Prompt flow's own contract."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from phi_runner import processes
from phi_runner.config.schema import AgentFlow, PlainFlow
from phi_runner.errors import FlowFailed
from phi_runner.flow import page, render
from phi_runner.flow.script import ScriptBackEnd
from phi_runner.processes import Running
from tests.flow import standin
from tests.flow.conftest import Rig, make_rig, without
from tests.flow.standin import KEY, StandIn


def back_end(rig: Rig, **changes: object) -> ScriptBackEnd:
    made = ScriptBackEnd(python=sys.executable, spec=rig.spec, connection=rig.connection, outputs=rig.outputs)
    return replace(made, **changes)


@pytest.fixture
def plain(tmp_path: Path, endpoint: StandIn) -> Rig:
    """A plain flow in front of a stand-in endpoint."""
    return make_rig(tmp_path, endpoint, PlainFlow())


@pytest.fixture(scope="module", params=["plain", pytest.param("agent_framework", marks=pytest.mark.slow)])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Running]]:
    """A served flow, in both forms that we serve ourselves."""
    agent = request.param == "agent_framework"
    python = request.getfixturevalue("agent_python") if agent else sys.executable
    outputs = tmp_path_factory.mktemp("outputs")
    with standin.running(outputs) as endpoint:
        rig = make_rig(outputs, endpoint, AgentFlow() if agent else PlainFlow())
        running = page.serve(
            back_end(rig, python=python).server(rig.folder), name=request.param, host="127.0.0.1", port=0,
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


def test_question_is_answered_over_the_streaming_route(plain: Rig):
    assert back_end(plain).ask(plain.folder, "Who founded Microsoft?").text == "Who founded Microsoft? [0 before]"
    (asked,) = plain.standin.behaviour.bodies
    assert asked["messages"] == [{"role": "user", "content": "Who founded Microsoft?"}]
    assert (asked["stream"], asked["max_tokens"], asked["temperature"]) == (True, 128, 0.0)
    assert not (plain.folder / "__pycache__").exists()


def test_endpoint_that_takes_texts_only_is_asked_the_last_question(plain: Rig):
    spec = replace(plain.spec, manner=replace(plain.spec.manner, chat_form=False, streams=False))
    render.render(spec, folder=plain.folder)
    connection = replace(plain.connection, key_file=None)
    assert back_end(plain, connection=connection).ask(plain.folder, "Hello?").text == "Hello? [0 before]"
    params = {"max_new_tokens": 128, "do_sample": False, "return_full_text": False}
    assert plain.standin.behaviour.bodies == [{"input_data": ["Hello?"], "params": params}]


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "answered 401: the key is not accepted"), (429, "answered 429: the endpoint is busy, ask again in a mom")],
)
def test_refusal_is_told_in_one_line(plain: Rig, status: int, words: str):
    plain.standin.behaviour.status = status
    with pytest.raises(FlowFailed, match=rf"the flow failed: http://.*/v1/chat/completions {words}") as failed:
        back_end(plain).ask(plain.folder, "Hello?")
    assert "\n" not in str(failed.value)


def test_endpoint_that_is_gone_is_named(plain: Rig):
    plain.standin.die()
    with pytest.raises(FlowFailed, match=r"/v1/chat/completions cannot be reached: .*refused"):
        back_end(plain).ask(plain.folder, "Hello?")


def test_flow_that_hangs_is_ended(plain: Rig):
    plain.standin.behaviour.pause_s = 30.0
    with pytest.raises(FlowFailed, match=r"gave no answer within 2 s; see .*flow-test\.log"):
        back_end(plain).ask(plain.folder, "a b c", timeout_s=2)
    assert not any(str(plain.folder) in " ".join(item.cmdline()) for item in psutil.Process().children())


def test_interpreter_that_is_none_is_named(plain: Rig):
    with pytest.raises(FlowFailed, match="interpreter /no/python cannot be started: No such file"):
        back_end(plain, python="/no/python").ask(plain.folder, "Hello?")


def test_folder_runs_by_itself_without_phi_runner_and_prompt_flow(plain: Rig, tmp_path: Path):
    """One conversation over standard input, with address and key from the environment."""
    environment = without("phi_runner", "promptflow", folder=tmp_path / "block")
    environment |= {"PHI_ENDPOINT_URL": plain.connection.endpoint, "PHI_ENDPOINT_KEY": KEY}

    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "flow.py", *arguments], cwd=plain.folder, env=environment, input=text,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    talked = run(text="Who are you?\n\nWhy?\n")
    assert (talked.stdout, talked.stderr) == ("Who are you? [0 before]\nWhy? [2 before]\n", "")
    assert run("One", "question").stdout == "One question [0 before]\n"
    del environment["PHI_ENDPOINT_KEY"]
    lost = run("Hello?")
    assert (lost.returncode, lost.stdout) == (1, "")
    wanted = "set PHI_ENDPOINT_KEY to the endpoint's key, or PHI_ENDPOINT_KEY_FILE to a file that holds it"
    assert lost.stderr == f"{wanted}\n"


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


PARENT = """
import os, signal, sys
from pathlib import Path
sys.argv = ["x"]
from phi_runner.flow.child import Child
child = Child([{python!r}, {tether!r}, {script!r}, "a b c d"], log=Path({log!r}), environment={environment!r})
print(child.pid, flush=True)
signal.pause()
"""


def test_question_being_asked_ends_with_a_killed_parent(plain: Rig):
    plain.standin.behaviour.pause_s = 20.0
    made = back_end(plain)
    python, tether, script = made._command(plain.folder / "flow.py")
    text = PARENT.format(
        python=python, tether=tether, script=script, log=str(plain.outputs / "log"), environment=made._environment()
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        until = time.monotonic() + 20
        while not plain.standin.behaviour.bodies and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(parent.pid, 9)
    assert plain.standin.behaviour.bodies
    until = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
