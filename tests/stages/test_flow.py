"""Stage `flow`: what it leaves behind, and when a stored flow is asked again."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from phi_runner import artifacts, processes
from phi_runner.artifacts import Flow
from phi_runner.config.schema import ChatConfig, FlowConfig, NoFlow, PromptFlow, RunConfig, StageName
from phi_runner.errors import ConfigProblem
from phi_runner.events import Event, Events, Kind, StageEvents
from phi_runner.processes import Running
from phi_runner.stages.flow import STAGE
from phi_runner.stages.stage import Inputs, RunDir
from tests.flow import standin
from tests.flow.standin import KEY, StandIn


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Outputs with a recorded endpoint in them, and everything that stages said."""

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
    folder = tmp_path / "store" / "flow" / "key"
    folder.mkdir(parents=True)
    with standin.running(tmp_path, pid=os.getpid()) as endpoint:
        record_endpoint(tmp_path, endpoint)
        rundir = RunDir(folder=folder, outputs=tmp_path, key="key", events=StageEvents(events, "flow"))
        inputs = Inputs({StageName.deploy: endpoint.endpoint}, {StageName.deploy: "key"})
        yield Place(outputs=tmp_path, endpoint=endpoint, said=said, inputs=inputs, rundir=rundir)
        for running in processes.listed(outputs=tmp_path):
            if running.kind == "flow":
                processes.stop_recorded(running, outputs=tmp_path)


def record_endpoint(outputs: Path, endpoint: StandIn) -> None:
    made = endpoint.endpoint
    running = Running(
        name=made.name, kind="endpoint", pid=made.pid, created=processes.created(made.pid), url=made.url, log="",
        detached=False,
    )  # fmt: skip
    processes.write_down(running, outputs=outputs)


def config(flow: FlowConfig, place: Place, chat: ChatConfig | None = None) -> RunConfig:
    return RunConfig(flow=flow, chat=chat or ChatConfig(), outputs=str(place.outputs))


def run(place: Place, flow: PromptFlow) -> Flow:
    made = STAGE.run(config(flow, place), place.inputs, place.rundir)
    assert isinstance(made, Flow)
    artifacts.save(made)
    return artifacts.load(Flow, folder=place.rundir.folder)


def test_flow_is_rendered_asked_told_and_reused_while_nothing_changes(place: Place):
    made = run(place, PromptFlow())
    assert (made.question, made.answer) == ("Who founded Microsoft?", "Who founded Microsoft? [0 before]")
    assert made.flow_folder == str(place.outputs / "flows" / "chat-with-phi")
    assert (Path(made.flow_folder) / "flow.dag.yaml").is_file()
    assert (made.url, made.pid) == ("", 0)
    (told,) = [event for event in place.said if event.kind is Kind.info]
    assert told.message == "Who founded Microsoft? -> Who founded Microsoft? [0 before]"
    assert told.values["answer"] == made.answer
    written = (file for file in place.outputs.rglob("*") if file.is_file() and file.name != "endpoint.key")
    assert not any(KEY in file.read_text(errors="replace") for file in written)
    check_when_it_is_asked_again(place, made)


def check_when_it_is_asked_again(place: Place, made: Flow) -> None:
    chosen = config(PromptFlow(), place)
    assert STAGE.still_true(chosen, made, place.outputs) == ""
    hotter = config(PromptFlow(), place, ChatConfig(temperature=1.0))
    assert STAGE.still_true(hotter, made, place.outputs) == "the flow folder has changed"
    serving = config(PromptFlow(serve=True), place)
    assert STAGE.still_true(serving, made, place.outputs) == "the flow's page is gone"
    for file in (place.outputs / "running").glob("endpoint-*.json"):
        file.unlink()
    assert STAGE.still_true(chosen, made, place.outputs) == "the endpoint that it asked is gone"
    (made.folder / "endpoint.json").unlink()
    assert STAGE.still_true(chosen, made, place.outputs) == "it does not say which endpoint it asked"


def test_served_flow_is_reused_while_its_page_runs(place: Place):
    flow = PromptFlow(serve=True, port=0, question="Why?")
    made = run(place, flow)
    assert httpx.post(f"{made.url}/score", json={"input_data": "Hi"}).json() == {"answer": "Hi [0 before]"}
    assert STAGE.still_true(config(flow, place), made, place.outputs) == ""
    running = processes.find("flow", flow.name, outputs=place.outputs)
    assert running is not None
    assert (running.url, running.pid) == (made.url, made.pid)
    processes.stop_recorded(running, outputs=place.outputs)
    assert STAGE.still_true(config(flow, place), made, place.outputs) == "the flow's page is gone"


def test_an_empty_answer_is_told_and_an_edited_flow_is_kept(place: Place):
    place.endpoint.behaviour.answer = " \n"
    folder = place.outputs / "flows" / "chat-with-phi"
    folder.mkdir(parents=True)
    (folder / "flow.dag.yaml").write_text("mine\n", encoding="utf-8")
    run(place, PromptFlow())
    kept, empty = [event for event in place.said if event.kind is Kind.warning]
    assert empty.message == "the flow answered 'Who founded Microsoft?' with nothing: see evaluate's answers"
    assert kept.message == f"{folder}/flow.dag.yaml had been edited: kept as flow.dag.yaml.edited, and written again"


def test_empty_question_is_refused_before_anything_is_written(place: Place):
    with pytest.raises(ConfigProblem, match=r"flow\.question is empty"):
        run(place, PromptFlow(question=" "))
    assert not (place.outputs / "flows").exists()


def test_no_flow_is_skipped_and_an_unknown_kind_ends_loudly(place: Place):
    assert STAGE.skip(config(NoFlow(), place)) == "flow=none"
    assert STAGE.skip(config(PromptFlow(), place)) == ""
    with pytest.raises(ConfigProblem, match="cannot make a flow of kind 'none'"):
        STAGE.run(config(NoFlow(), place), place.inputs, place.rundir)
