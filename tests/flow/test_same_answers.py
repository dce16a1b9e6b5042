"""One conversation through every way of running the flow, in front of a real model: the same answers, greedy."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from phi_runner import processes
from phi_runner.artifacts import Endpoint
from phi_runner.config.schema import AgentFlow, ChatConfig, ChatFlow, PlainFlow, PromptFlow
from phi_runner.flow import page, render
from phi_runner.flow.back_end import BackEnd
from phi_runner.flow.promptflow.back_end import PromptFlowBackEnd
from phi_runner.flow.script import ScriptBackEnd
from phi_runner.flow.spec import spec_of
from tests.flow.conftest import connection_to
from tests.serve import rig

QUESTIONS = ["Who founded Microsoft?", "Where is the sun?", "What did you say?", "What is the capital of France?"]
CHAT = ChatConfig(max_new_tokens=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A running endpoint and what it says in the conversation, asked directly."""

    endpoint: Endpoint
    answers: list[str]


def say(client: httpx.Client, messages: list[dict[str, str]]) -> str:
    body = {"messages": messages, "max_tokens": CHAT.max_new_tokens, "temperature": 0}
    return str(client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"])


@pytest.fixture(scope="module")
def truth(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    """The tiny model behind a real server."""
    from phi_runner.model.engines.batched import TransformersEngine

    folder = tmp_path_factory.mktemp("endpoint")
    key_file, engine = rig.write_key(folder), TransformersEngine(tiny_model)
    with rig.serving(engine) as client:
        answers: list[str] = []
        messages: list[dict[str, str]] = []
        for question in QUESTIONS:
            messages.append({"role": "user", "content": question})
            answers.append(say(client, messages))
            messages.append({"role": "assistant", "content": answers[-1]})
        alone = [say(client, [{"role": "user", "content": question}]) for question in QUESTIONS]
        assert all(alone[turn] != answers[turn] for turn in range(1, len(QUESTIONS)))  # the history matters
        endpoint = Endpoint(
            folder=folder, name="tiny-endpoint", url=str(client.base_url).rstrip("/"), key_file=str(key_file), pid=0,
            model=rig.LABEL, template_hash="0", detached=False,
        )  # fmt: skip
        yield Truth(endpoint=endpoint, answers=answers)
    engine.close()


def made(flow: ChatFlow, truth: Truth, *, outputs: Path, python: str = sys.executable) -> tuple[BackEnd, Path]:
    """Render a flow in front of the endpoint; return it and what runs it."""
    spec, folder = spec_of(flow, chat=CHAT, endpoint=truth.endpoint), outputs / "flows" / flow.kind
    render.render(spec, folder=folder)
    connection = connection_to(truth.endpoint)
    if isinstance(flow, PromptFlow):
        return PromptFlowBackEnd(connection=connection, outputs=outputs), folder
    return ScriptBackEnd(python=python, spec=spec, connection=connection, outputs=outputs), folder


def talk(url: str, *, stream: bool) -> list[str]:
    """Hold the conversation over a served flow, with the history that a chat page keeps."""
    history: list[dict[str, object]] = []
    with httpx.Client(headers={"Accept": "text/event-stream"} if stream else {}, timeout=60) as client:
        for question in QUESTIONS:
            reply = client.post(f"{url}/score", json={"input_data": question, "chat_history": history})
            assert reply.is_success, reply.text
            if stream:
                events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
                answer = "".join(json.loads(event)["answer"] for event in events)
            else:
                answer = reply.json()["answer"]
            history.append({"inputs": {"input_data": question}, "outputs": {"answer": answer}})
    return [str(turn["outputs"]["answer"]) for turn in history]  # type: ignore[index]


def check_served(back_end: BackEnd, folder: Path, truth: Truth, *, outputs: Path) -> None:
    running = page.serve(
        back_end.server(folder), name=folder.name, host="127.0.0.1", port=0, outputs=outputs, detach=False
    )
    try:
        assert talk(running.url, stream=False) == truth.answers
        assert talk(running.url, stream=True) == truth.answers
    finally:
        processes.stop_recorded(running, outputs=outputs)


def test_prompt_flow(truth: Truth, tmp_path: Path):
    back_end, folder = made(PromptFlow(), truth, outputs=tmp_path)
    check_served(back_end, folder, truth, outputs=tmp_path)


def check_script(flow: ChatFlow, truth: Truth, *, outputs: Path, python: str) -> None:
    """Ask once, talk over standard input in one process with one session, and over the served flow."""
    back_end, folder = made(flow, truth, outputs=outputs, python=python)
    assert isinstance(back_end, ScriptBackEnd)
    assert back_end.ask(folder, QUESTIONS[0]).text == truth.answers[0]
    talked = subprocess.run(
        [python, "flow.py"], cwd=folder, env={**os.environ, **back_end._environment()},
        input="\n".join(QUESTIONS), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert talked.stdout == "".join(f"{answer}\n" for answer in truth.answers)
    check_served(back_end, folder, truth, outputs=outputs)


def test_plain_python(truth: Truth, tmp_path: Path):
    check_script(PlainFlow(), truth, outputs=tmp_path, python=sys.executable)


@pytest.mark.slow
def test_agent_framework(truth: Truth, tmp_path: Path, agent_python: str):
    check_script(AgentFlow(), truth, outputs=tmp_path, python=agent_python)
