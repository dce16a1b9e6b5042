"""Stage `chat`: on the page until Ctrl-C, beside the base model when asked, and in the terminal."""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from phi_runner import processes
from phi_runner.artifacts import Endpoint
from phi_runner.config.schema import ChatConfig, ChatUi, LocalDeploy, RunConfig, StageName
from phi_runner.errors import ConfigProblem, DeployFailed, FlowFailed
from phi_runner.events import Event, Events, StageEvents
from phi_runner.processes import Running
from phi_runner.stages.chat import STAGE
from phi_runner.stages.stage import Inputs, RunDir
from tests.flow import standin
from tests.flow.standin import KEY, StandIn

TERMINAL = RunConfig(chat=ChatConfig(ui=ChatUi.terminal))
PAGE = RunConfig(chat=ChatConfig())


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Outputs with a recorded endpoint in them, and everything that the stage said."""

    outputs: Path
    endpoint: StandIn
    said: list[Event]
    inputs: Inputs
    rundir: RunDir


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Outputs in which an endpoint runs; this very process plays its part in the record."""
    events, said = Events(), []
    events.listen(said.append)
    with standin.running(tmp_path, pid=os.getpid()) as endpoint:
        record(endpoint.endpoint, outputs=tmp_path)
        rundir = RunDir(folder=tmp_path / "runs", outputs=tmp_path, key="", events=StageEvents(events, "chat"))
        inputs = Inputs({StageName.deploy: endpoint.endpoint}, {StageName.deploy: "key"})
        yield Place(outputs=tmp_path, endpoint=endpoint, said=said, inputs=inputs, rundir=rundir)


def record(made: Endpoint, *, outputs: Path) -> None:
    running = Running(
        name=made.name, kind="endpoint", pid=made.pid, created=processes.created(made.pid), url=made.url, log="",
        detached=False,
    )  # fmt: skip
    processes.write_down(running, outputs=outputs)


@pytest.fixture(autouse=True)
def _no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def talk(place: Place, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert STAGE.run(TERMINAL, place.inputs, place.rundir) is None


def test_piped_questions_are_answered_and_voted_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    talk(place, "Hello\n/up\nAgain\n", monkeypatch)
    assert capsys.readouterr().out == "Hello [0 before]\nAgain [2 before]\n"
    begun, ended = (event.message for event in place.said)
    assert begun.startswith(f"talking to phi/1 at {place.endpoint.endpoint.url}; ")
    assert "/quit or Ctrl-D ends" in begun
    assert ended == "the chat ended after 2 questions"
    assert '"Hello [0 before]"' in (place.outputs / "feedback" / "phi-endpoint.jsonl").read_text()


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


def when_shown(place: Place, act: Callable[[str], None]) -> None:
    """Do something shortly after the stage has said where the page is."""

    def listen(event: Event) -> None:
        if event.message.startswith("chat at "):
            threading.Timer(0.3, act, args=[str(event.values["url"])]).start()

    place.rundir.events.events.listen(listen)


def pages(place: Place) -> list[Running]:
    return [item for item in processes.listed(outputs=place.outputs) if item.kind == "page"]


def test_page_is_served_until_ctrl_c_and_gone_after_it(place: Place):
    pytest.importorskip("nicegui")
    seen = []

    def use(url: str) -> None:
        seen.append(httpx.get(url).status_code)
        seen.append(len(pages(place)))
        os.kill(os.getpid(), signal.SIGINT)

    when_shown(place, use)
    STAGE.run(PAGE, place.inputs, place.rundir)
    assert seen == [200, 1]
    assert pages(place) == []
    votes, shown = (event.message for event in place.said[-2:])
    assert votes == f"votes on answers are kept in {place.outputs / 'feedback' / 'phi-endpoint.jsonl'}"
    assert shown.endswith("Ctrl-C ends")


def test_endpoint_that_ends_is_told_once_and_a_page_that_ends_is_an_error(place: Place):
    pytest.importorskip("nicegui")

    def end_both(_url: str) -> None:
        endpoint = processes.find("endpoint", "phi-endpoint", outputs=place.outputs)
        assert endpoint is not None
        (place.outputs / "running" / "endpoint-phi-endpoint.json").unlink()
        threading.Timer(1.5, lambda: os.kill(pages(place)[0].pid, signal.SIGKILL)).start()

    when_shown(place, end_both)
    with pytest.raises(DeployFailed, match=r"the chat page at http://127.0.0.1:\d+ has ended; see .*\.log"):
        STAGE.run(PAGE, place.inputs, place.rundir)
    told = [event.message for event in place.said if "has ended" in event.message]
    assert told == [f"the endpoint at {place.endpoint.endpoint.url} has ended: Ctrl-C, and start it with +recipe=chat"]


def test_page_beyond_this_machine_is_warned_of(place: Place):
    pytest.importorskip("nicegui")
    when_shown(place, lambda _url: os.kill(os.getpid(), signal.SIGINT))
    config = RunConfig(chat=ChatConfig(host="0.0.0.0", feedback_file=str(place.outputs / "mine.jsonl")))
    STAGE.run(config, place.inputs, place.rundir)
    messages = [event.message for event in place.said]
    assert "chat.host=0.0.0.0: whoever reaches this address can use the model without a key" in messages
    assert f"votes on answers are kept in {place.outputs / 'mine.jsonl'}" in messages


def test_key_that_is_gone_is_told_before_the_page_starts(place: Place):
    Path(place.endpoint.endpoint.key_file).unlink()
    with pytest.raises(FlowFailed, match="start the endpoint again, with deploy among the stages"):
        STAGE.run(PAGE, place.inputs, place.rundir)
    assert pages(place) == []


def test_base_model_that_the_store_does_not_hold_says_what_to_type(place: Place):
    config = RunConfig(chat=ChatConfig(compare=True), deploy=LocalDeploy())
    with pytest.raises(ConfigProblem, match=r"does not hold the training of phi/1: type chat\.compare=false"):
        STAGE.run(config, place.inputs, place.rundir)


def test_stage_reads_the_endpoint_alone():
    assert STAGE.reads(PAGE) == STAGE.reads(TERMINAL) == (StageName.deploy,)
