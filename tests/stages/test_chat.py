"""Stage `chat`: in the terminal, and on the flow's page until Ctrl-C."""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from phi_runner import processes
from phi_runner.artifacts import Flow
from phi_runner.config.schema import ChatConfig, ChatUi, NoFlow, PromptFlow, RunConfig, StageName
from phi_runner.errors import ConfigProblem, DeployFailed, FlowFailed
from phi_runner.events import Event
from phi_runner.flow import render
from phi_runner.stages.chat import STAGE
from phi_runner.stages.stage import Inputs
from tests.flow.standin import KEY
from tests.stages.test_flow import Place, place

__all__ = ["place"]

PAGE = RunConfig(flow=PromptFlow(port=0), chat=ChatConfig(ui=ChatUi.page))


@pytest.fixture(autouse=True)
def _no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def talk(place: Place, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert STAGE.run(RunConfig(flow=NoFlow(), chat=ChatConfig()), place.inputs, place.rundir) is None


def test_piped_questions_are_answered(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    talk(place, "Hello\nAgain\n", monkeypatch)
    assert capsys.readouterr().out == "Hello [0 before]\nAgain [2 before]\n"
    begun, ended = (event.message for event in place.said)
    assert begun.startswith(f"talking to phi/1 at {place.endpoint.endpoint.url}; ")
    assert "/quit or Ctrl-D ends" in begun
    assert ended == "the chat ended after 2 questions"


def test_dead_endpoint_is_one_friendly_line(place: Place, monkeypatch: pytest.MonkeyPatch):
    place.endpoint.die()
    with pytest.raises(DeployFailed, match=r"is gone .* start it again with \+recipe=chat"):
        talk(place, "Hello\n", monkeypatch)


def test_wrong_key_is_one_friendly_line_without_the_key(place: Place, monkeypatch: pytest.MonkeyPatch):
    Path(place.endpoint.endpoint.key_file).write_text("another")
    with pytest.raises(DeployFailed, match=r"refuses the key \(401\)") as caught:
        talk(place, "Hello\n", monkeypatch)
    assert "another" not in str(caught.value)
    assert KEY not in str(caught.value)


def with_flow(place: Place) -> Inputs:
    folder = place.outputs / "flows" / "chat-with-phi"
    render.render(PromptFlow(), chat=ChatConfig(), folder=folder)
    made = Flow(folder=place.rundir.folder, flow_folder=str(folder), question="?", answer="!", url="", pid=0)
    return replace(place.inputs, artifacts={**place.inputs.artifacts, StageName.flow: made})


def when_shown(place: Place, act: Callable[[str], None]) -> None:
    """Do something shortly after the stage has said where the page is."""

    def listen(event: Event) -> None:
        if event.message.startswith("chat at "):
            threading.Timer(0.3, act, args=[str(event.values["url"])]).start()

    place.rundir.events.events.listen(listen)


def test_page_is_served_until_ctrl_c_and_gone_after_it(place: Place):
    answers = []

    def use(url: str) -> None:
        answers.append(httpx.post(f"{url}/score", json={"input_data": "Hi"}).json())
        os.kill(os.getpid(), signal.SIGINT)

    when_shown(place, use)
    STAGE.run(PAGE, with_flow(place), place.rundir)
    assert answers == [{"answer": "Hi [0 before]"}]
    assert processes.find("flow", "chat-with-phi", outputs=place.outputs) is None
    assert place.said[-1].message.endswith("Ctrl-C ends")


def test_page_that_ends_by_itself_is_told(place: Place):
    def end(_url: str) -> None:
        running = processes.find("flow", "chat-with-phi", outputs=place.outputs)
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)

    when_shown(place, end)
    with pytest.raises(FlowFailed, match=r"the flow's page at http://127.0.0.1:\d+ has ended; see .*\.log"):
        STAGE.run(PAGE, with_flow(place), place.rundir)


def test_page_without_a_flow_says_what_to_type(place: Place):
    config = RunConfig(flow=NoFlow(), chat=ChatConfig(ui=ChatUi.page))
    assert STAGE.reads(config) == (StageName.deploy,)
    with pytest.raises(ConfigProblem, match=r"add flow=promptflow, or chat\.ui=terminal"):
        STAGE.run(config, place.inputs, place.rundir)


def test_terminal_reads_the_endpoint_alone_and_the_page_the_flow_too():
    assert STAGE.reads(RunConfig(flow=PromptFlow(), chat=ChatConfig())) == (StageName.deploy,)
    assert STAGE.reads(PAGE) == (StageName.deploy, StageName.flow)
