"""Stage `flow`: what it leaves behind, and when a stored flow is asked again."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from phi_runner import artifacts, processes
from phi_runner.artifacts import Dataset, Flow
from phi_runner.config.schema import (
    AgentFlow,
    ChatConfig,
    ChatFlow,
    FlowConfig,
    NoFlow,
    PlainFlow,
    PromptFlow,
    RunConfig,
    StageName,
)
from phi_runner.errors import ConfigProblem
from phi_runner.events import Event, Events, Kind, StageEvents
from phi_runner.processes import Running
from phi_runner.stages.flow import STAGE
from phi_runner.stages.stage import Inputs, RunDir
from tests.flow import standin
from tests.flow.conftest import agent_python
from tests.flow.standin import KEY, StandIn

__all__ = ["agent_python"]


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


def run(place: Place, flow: ChatFlow) -> Flow:
    made = STAGE.run(config(flow, place), place.inputs, place.rundir)
    assert isinstance(made, Flow)
    artifacts.save(made)
    return artifacts.load(Flow, folder=place.rundir.folder)


FIRST_FILE = {"promptflow": "flow.dag.yaml", "plain": "flow.py", "agent_framework": "flow.py"}


@pytest.mark.parametrize(
    "flow", [PromptFlow(), PlainFlow(), pytest.param(AgentFlow(), marks=pytest.mark.slow)], ids=lambda flow: flow.kind
)
def test_flow_is_rendered_asked_told_and_reused_while_nothing_changes(
    place: Place, flow: ChatFlow, request: pytest.FixtureRequest
):
    if isinstance(flow, AgentFlow):
        flow = AgentFlow(python=request.getfixturevalue("agent_python"))
    made = run(place, flow)
    assert (made.question, made.answer) == ("Who founded Microsoft?", "Who founded Microsoft? [0 before]")
    assert made.flow_folder == str(place.outputs / "flows" / "chat-with-phi")
    assert (Path(made.flow_folder) / FIRST_FILE[flow.kind]).is_file()
    assert (made.url, made.pid) == ("", 0)
    (told,) = [event for event in place.said if event.kind is Kind.info]
    assert told.message == "Who founded Microsoft? -> Who founded Microsoft? [0 before]"
    assert told.values["answer"] == made.answer
    check_no_key(place)
    check_when_it_is_asked_again(place, made, flow)


def check_no_key(place: Place) -> None:
    written = (file for file in place.outputs.rglob("*") if file.is_file() and file.name != "endpoint.key")
    assert not any(KEY in file.read_text(errors="replace") for file in written)


def check_when_it_is_asked_again(place: Place, made: Flow, flow: ChatFlow) -> None:
    chosen = config(flow, place)
    assert STAGE.still_true(chosen, made, place.outputs) == ""
    hotter = config(flow, place, ChatConfig(temperature=1.0))
    assert STAGE.still_true(hotter, made, place.outputs) == "the flow folder has changed"
    serving = config(replace(flow, serve=True), place)
    assert STAGE.still_true(serving, made, place.outputs) == "the flow's page is gone"
    other = config(PlainFlow() if isinstance(flow, PromptFlow) else PromptFlow(), place)
    assert STAGE.still_true(other, made, place.outputs) == "the flow folder has changed"
    for file in (place.outputs / "running").glob("endpoint-*.json"):
        file.unlink()
    assert STAGE.still_true(chosen, made, place.outputs) == "the endpoint that it asked is gone"
    (made.folder / "endpoint.json").unlink()
    assert STAGE.still_true(chosen, made, place.outputs) == "it does not say which endpoint it asked"


def test_served_flow_is_reused_while_it_runs(place: Place):
    flow = PlainFlow(serve=True, port=0, question="Why?")
    made = run(place, flow)
    assert httpx.post(f"{made.url}/score", json={"input_data": "Hi"}).json() == {"answer": "Hi [0 before]"}
    assert [event.message for event in place.said][-1].startswith(f"the flow's API is {made.url}/score")
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
    (folder / "flow.py").write_text("mine\n", encoding="utf-8")
    run(place, PlainFlow())
    kept, empty = [event for event in place.said if event.kind is Kind.warning]
    assert empty.message == "the flow answered 'Who founded Microsoft?' with nothing: see evaluate's answers"
    assert kept.message == f"{folder}/flow.py had been edited: kept as flow.py.edited, and written again"


def test_empty_question_is_refused_before_anything_is_written(place: Place):
    with pytest.raises(ConfigProblem, match=r"flow\.question is empty"):
        run(place, PlainFlow(question=" "))
    assert not (place.outputs / "flows").exists()


def test_no_flow_is_skipped_and_an_unknown_kind_ends_loudly(place: Place):
    assert STAGE.skip(config(NoFlow(), place)) == "flow=none"
    assert STAGE.skip(config(PromptFlow(), place)) == ""
    with pytest.raises(ConfigProblem, match="cannot make a flow of kind 'none'"):
        STAGE.run(config(NoFlow(), place), place.inputs, place.rundir)


def with_data(place: Place, *dialogues: tuple[str, str]) -> Place:
    """Add a data stage's result that holds these questions and answers."""
    folder = place.outputs / "store" / "data" / "key"
    folder.mkdir(parents=True)
    dataset = Dataset(
        folder=folder, train_rows=0, test_rows=len(dialogues), dropped_rows=0, source="", format="messages",
        content_hash="0",
    )  # fmt: skip
    rows = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in dialogues]
    dataset.test_jsonl.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows), encoding="utf-8")
    results = {**place.inputs.artifacts, StageName.data: dataset}
    return replace(place, inputs=Inputs(results, {**place.inputs.keys, StageName.data: "key"}))


def registered(place: Place) -> str:
    """Register `phi/1` as the model of a run, and return the run."""
    from mlflow import MlflowClient

    place_of_all = f"sqlite:///{place.outputs}/mlflow.db"
    client = MlflowClient(place_of_all, registry_uri=place_of_all)
    run_id = str(client.create_run(client.create_experiment("earlier")).info.run_id)
    client.create_registered_model("phi")
    client.create_model_version("phi", source=f"runs:/{run_id}/model", run_id=run_id)
    return run_id


@pytest.mark.filterwarnings("default")  # MLflow's own
def test_batch_run_is_evaluated_and_its_metrics_are_in_mlflow_and_the_result(place: Place):
    place = with_data(place, ("a", "a [0 before]"), ("b", "nothing of it"), ("lost", "x"), ("not asked", "x"))
    place.endpoint.behaviour.refused = "lost"
    flow, parent = PromptFlow(batch_rows=3), registered(place)
    assert STAGE.reads(config(flow, place)) == (StageName.data, StageName.deploy)
    made = run(place, flow)
    rows = [json.loads(line) for line in (made.folder / "batch.jsonl").read_text("utf-8").splitlines()]
    assert [row["answer"] for row in rows] == ["a [0 before]", "b [0 before]", None]
    assert [row.get("exact_match") for row in rows] == [1.0, 0.0, None]
    metrics = {"rows": 3.0, "failed": 1.0, "exact_match": 0.5, "token_f1": 0.5}
    assert json.loads((made.folder / "metrics.json").read_text("utf-8")) == metrics
    (warned,) = [event.message for event in place.said if event.kind is Kind.warning]
    assert warned.startswith("1 rows of the batch run were not answered: http://")
    assert warned.endswith("answered 422: the dialogue cannot be read or is too long, start a new one")
    check_no_key(place)
    check_tracked(place, metrics, parent=parent)


def check_tracked(place: Place, metrics: dict[str, float], *, parent: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.outputs}/mlflow.db")
    runs = client.search_runs([item.experiment_id for item in client.search_experiments()])
    (tracked,) = [item for item in runs if item.info.run_id != parent]
    assert tracked.data.metrics == {f"flow/{name}": value for name, value in metrics.items()}
    assert tracked.info.status == "FINISHED"
    assert tracked.data.tags["phi_runner.model"] == "phi/1"
    assert tracked.data.tags["mlflow.parentRunId"] == parent
    assert [item.path for item in client.list_artifacts(tracked.info.run_id)] == ["batch.jsonl"]
