"""The flow's page and API, served by Prompt flow's own app in a process of its own."""

import json
import os
import signal
import socket
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
from phi_runner.errors import FlowFailed
from phi_runner.flow import page, render
from phi_runner.flow.promptflow.back_end import PromptFlowBackEnd
from phi_runner.processes import Running
from tests.flow import standin
from tests.flow.conftest import Rig, make_rig
from tests.flow.standin import KEY


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, calls_out: Path) -> Iterator[tuple[Rig, Running]]:
    outputs = tmp_path_factory.mktemp("outputs")
    with standin.running(outputs) as endpoint:
        rig = make_rig(outputs, endpoint)
        running = serve(rig, port=0)
        yield rig, running
        processes.stop_recorded(running, outputs=outputs)
        assert not running.alive()
        assert calls_out.read_text() == ""


def serve(rig: Rig, *, port: int) -> Running:
    return page.serve(
        rig.prompt_flow.server(rig.folder), name="chat-with-phi", host="127.0.0.1", port=port, outputs=rig.outputs,
        detach=False,
    )  # fmt: skip


def test_page_is_html_and_is_written_down(served: tuple[Rig, Running]):
    rig, running = served
    reply = httpx.get(f"{running.url}/")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert 'id="root"' in reply.text
    script = httpx.get(f"{running.url}/static/index.js")
    assert script.status_code == 200
    assert processes.find("flow", "chat-with-phi", outputs=rig.outputs) == running


def test_api_answers_with_and_without_history(served: tuple[Rig, Running]):
    _rig, running = served
    first = httpx.post(f"{running.url}/score", json={"input_data": "Who founded Microsoft?"})
    assert first.json() == {"answer": "Who founded Microsoft? [0 before]"}
    history = [{"inputs": {"input_data": "Who founded Microsoft?"}, "outputs": first.json()}]
    second = httpx.post(f"{running.url}/score", json={"input_data": "And when?", "chat_history": history})
    assert second.json() == {"answer": "And when? [2 before]"}


def test_answer_is_streamed_to_who_accepts_a_stream(served: tuple[Rig, Running]):
    rig, running = served
    rig.standin.behaviour.pause_s = 0.2
    try:
        headers = {"Accept": "text/event-stream"}
        with httpx.stream("POST", f"{running.url}/score", json={"input_data": "Hello there"}, headers=headers) as reply:
            begun, seen = time.monotonic(), []
            for line in reply.iter_lines():
                if line:
                    seen.append((time.monotonic() - begun, json.loads(line.removeprefix("data: "))["answer"]))
    finally:
        rig.standin.behaviour.pause_s = 0.0
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert [piece for _at, piece in seen] == ["Hello", " there", " [0", " before]"]
    assert seen[-1][0] - seen[0][0] > 0.4


def test_answer_that_breaks_off_is_an_error_and_no_shorter_answer(served: tuple[Rig, Running]):
    rig, running = served
    rig.standin.behaviour.break_off = True
    try:
        reply = httpx.post(f"{running.url}/score", json={"input_data": "Hello?"})
    finally:
        rig.standin.behaviour.break_off = False
    assert reply.status_code == 500  # Prompt flow 1.18.5 loses the reason on its way


def test_turn_without_an_answer_is_left_out_of_the_history(served: tuple[Rig, Running]):
    _rig, running = served
    history = [{"inputs": {"input_data": "lost"}, "outputs": None}]
    reply = httpx.post(f"{running.url}/score", json={"input_data": "Hello?", "chat_history": history})
    assert reply.json() == {"answer": "Hello? [0 before]"}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "answered 401: the key is not accepted"),
        (429, "answered 429: the endpoint is busy, ask again in a moment"),
        (503, 'answered 503: {"error": {"message": "the reason"}}'),
    ],
)
def test_refusal_of_the_endpoint_reaches_the_page_in_words(served: tuple[Rig, Running], status: int, words: str):
    rig, running = served
    rig.standin.behaviour.status = status
    try:
        reply = httpx.post(f"{running.url}/score", json={"input_data": "Hello?"})
    finally:
        rig.standin.behaviour.status = 200
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].endswith(f"{rig.standin.endpoint.url}/v1/chat/completions {words}")


def test_no_other_origin_may_read_the_api(served: tuple[Rig, Running]):
    _rig, running = served
    reply = httpx.post(f"{running.url}/score", json={"input_data": "x"}, headers={"Origin": "http://elsewhere.example"})
    assert "access-control-allow-origin" not in reply.headers


def test_key_is_neither_on_the_command_line_nor_in_the_environment_nor_in_the_log(served: tuple[Rig, Running]):
    _rig, running = served
    process = psutil.Process(running.pid)
    assert KEY not in " ".join(process.cmdline()) + str(process.environ()) + Path(running.log).read_text()


def test_key_without_a_file_reaches_the_page_and_no_command_line_or_log(rig: Rig):
    """One page in front of an endpoint that answers the list form alone, as Azure's no-code image does."""
    manner = replace(rig.spec.manner, chat_form=False, streams=False)
    render.render(replace(rig.spec, manner=manner), folder=rig.folder)
    remote = PromptFlowBackEnd(connection=replace(rig.connection, key_file=None), outputs=rig.outputs)
    running = page.serve(
        remote.server(rig.folder), name="remote", host="127.0.0.1", port=0, outputs=rig.outputs, detach=False
    )
    try:
        reply = httpx.post(f"{running.url}/score", json={"input_data": "Hello?"})
        shown = " ".join(psutil.Process(running.pid).cmdline()) + Path(running.log).read_text()
    finally:
        processes.stop_recorded(running, outputs=rig.outputs)
    assert reply.json() == {"answer": "Hello? [0 before]"}
    params = {"max_new_tokens": 128, "do_sample": False, "return_full_text": False}
    assert rig.standin.behaviour.bodies == [{"input_data": ["Hello?"], "params": params}]
    assert KEY not in shown


def test_port_in_use_names_the_port_and_the_way_out(rig: Rig):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FlowFailed, match=f"port {port} of 127.0.0.1 is in use by another program: add flow.port=0"):
            serve(rig, port=port)
    assert processes.listed(outputs=rig.outputs) == []


def test_page_that_cannot_start_points_to_its_log_and_leaves_nothing(rig: Rig):
    (rig.folder / "flow.dag.yaml").write_text("nodes: nonsense\n", encoding="utf-8")
    with pytest.raises(FlowFailed, match=r"the flow's page ended at its start \(exit code 1\); see .*\.log"):
        serve(rig, port=0)
    assert processes.listed(outputs=rig.outputs) == []


def test_page_of_another_run_is_left_alone(rig: Rig):
    with subprocess.Popen(["sleep", "60"]) as other:
        theirs = Running(
            name="chat-with-phi", kind="flow", pid=other.pid, created=processes.created(other.pid),
            url="http://127.0.0.1:1", log="", detached=False,
        )  # fmt: skip
        processes.write_down(theirs, outputs=rig.outputs)
        with pytest.raises(FlowFailed, match=r"at http://127.0.0.1:1 belongs to another run: type flow.name=ANOTHER"):
            serve(rig, port=0)
        assert theirs.alive()
        other.kill()


def test_page_in_front_of_a_missing_flow_is_refused(rig: Rig):
    (rig.folder / "flow.dag.yaml").unlink()
    with pytest.raises(FlowFailed, match=r"there is no flow in .*: render it with stages=\[flow\]"):
        serve(rig, port=0)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # nobody may be there to bury an orphan
    except psutil.NoSuchProcess:
        return False


PARENT = """
import sys, threading
from pathlib import Path
from phi_runner.flow import page
from phi_runner.flow.connection import Connection
from phi_runner.flow.promptflow import process
from phi_runner.flow.promptflow.back_end import PromptFlowBackEnd
folder, outputs, endpoint, key_file = sys.argv[1:]
process.warm_up(Path(outputs))
connection = Connection(name="phi-endpoint", endpoint=endpoint, key="k", key_file=Path(key_file))
server = PromptFlowBackEnd(connection=connection, outputs=Path(outputs)).server(Path(folder))
running = page.serve(server, name="x", host="127.0.0.1", port=0, outputs=Path(outputs), detach=False)
print(running.pid, process._waiting[Path(outputs)].pid, flush=True)
threading.Event().wait()
"""


def test_page_and_waiting_child_end_with_a_killed_parent(rig: Rig):
    arguments = [rig.folder, rig.outputs, rig.connection.endpoint, rig.connection.key_file]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        os.kill(parent.pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while any(map(runs, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(runs, pids))
