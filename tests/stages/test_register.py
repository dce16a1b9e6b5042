"""The gate before the registry, with real trainings: a good one passes, one on shuffled answers is blocked."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi_runner import artifacts, runner
from phi_runner.artifacts import Registered, TrainedModel
from phi_runner.config.schema import AccountAzure, FileData, FullTrain, Gate, LocalModel, RunConfig, StageName
from phi_runner.errors import GateRefused, MissingInput
from tests import runs
from tests.data.chats import write_jsonl

pytestmark = pytest.mark.filterwarnings("default")
_STAGES = (StageName.data, StageName.train, StageName.evaluate, StageName.register)


def _perform(config: RunConfig, name: str) -> dict[str, Any]:
    folder = Path(config.outputs) / "runs" / name
    runner.perform(config, folder=folder, overrides=[], recipe="", trial=None)
    return _record(config, name)


def _record(config: RunConfig, name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((Path(config.outputs) / "runs" / name / "run.json").read_text())
    return {stage["name"]: stage for stage in record["stages"]} | {"values": record["values"]}


def _gated(config: RunConfig, gate: Gate, **changes: Any) -> RunConfig:
    return replace(config, evaluate=replace(config.evaluate, gate=gate), **changes)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A training on facts, held out in other wordings."""
    folder = tmp_path_factory.mktemp("gated")
    data = FileData(train_file=str(runs.facts_file(folder)), eval_fraction=0.35)
    config = runs.config(*_STAGES, outputs=folder / "outputs", data=data, azure=AccountAzure(subscription="s"))
    return _gated(config, Gate.better)


@pytest.fixture(scope="module")
def passed(good: RunConfig) -> dict[str, Any]:
    return _perform(good, "good")


@pytest.fixture(scope="module")
def shuffled(good: RunConfig, passed: dict[str, Any]) -> RunConfig:
    """A training that goes on from the good model, on the same questions with each other's answers."""
    folder = Path(good.outputs).parent
    dataset = Path(passed["data"]["result"])
    rows = [json.loads(line) for line in (dataset / "train_data.jsonl").read_text().splitlines()]
    answers = [row["messages"][-1] for row in rows]
    random.Random(0).shuffle(answers)
    wrong = [{"messages": [row["messages"][0], answer]} for row, answer in zip(rows, answers, strict=True)]
    data = FileData(
        train_file=str(write_jsonl(folder / "wrong.jsonl", wrong)), eval_file=str(dataset / "test_data.jsonl")
    )  # fmt: skip
    trained = artifacts.load(TrainedModel, folder=Path(passed["train"]["result"]))
    return replace(
        good, data=data, model=LocalModel(path=str(trained.model_folder)),
        train=FullTrain(**runs.train_values(epochs=6)),
    )  # fmt: skip


def test_a_good_model_passes_with_its_figures_in_the_registry(good: RunConfig, passed: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    assert passed["values"]["verdict"] == "better"
    assert passed["evaluate"]["summary"].endswith(": better")
    registered = artifacts.load(Registered, folder=Path(passed["register"]["result"]))
    assert (registered.folder / "card.json").is_file()
    client = MlflowClient(tracking_uri=registered.tracking_uri)
    tags = client.get_model_version(registered.name, registered.version).tags
    assert tags["phi_runner.gate"] == "better"
    assert "95% interval" in tags["phi_runner.card.loss"]
    assert tags["phi_runner.verdict"].endswith(": better")
    trained = artifacts.load(TrainedModel, folder=Path(passed["train"]["result"]))
    metrics = client.get_run(trained.tracking_run).data.metrics
    assert (
        metrics["card/loss/difference_low"] <= metrics["card/loss/difference"] <= metrics["card/loss/difference_high"]
    )
    assert "card.json" in {file.path for file in client.list_artifacts(trained.tracking_run)}


def test_a_training_on_shuffled_answers_is_blocked_until_the_gate_is_opened(shuffled: RunConfig) -> None:
    with pytest.raises(GateRefused, match=r"is not registered: held-out loss .*: worse; evaluate\.gate=better"):
        _perform(shuffled, "blocked")
    blocked = _record(shuffled, "blocked")
    assert (blocked["evaluate"]["status"], blocked["register"]["status"]) == ("done", "failed")
    with pytest.raises(GateRefused, match=r"evaluate\.gate=not_worse does not let it pass"):
        _perform(_gated(shuffled, Gate.not_worse), "blocked again")
    opened = _perform(_gated(shuffled, Gate.never), "opened")
    assert (opened["evaluate"]["status"], opened["register"]["status"]) == ("reused", "done")
    with pytest.raises(GateRefused):  # what the open gate let in does not pass the closed one
        _perform(shuffled, "closed")


def test_a_gate_that_asks_needs_a_card(good: RunConfig, passed: dict[str, Any]) -> None:
    alone = replace(good, stages=[StageName.register])
    assert _perform(alone, "alone")["register"]["key"] == passed["register"]["key"]
    apart = replace(alone, outputs=f"{good.outputs}-apart")
    with pytest.raises(MissingInput, match=r"or evaluate\.gate=never to register a model that nobody has measured"):
        _perform(apart, "apart")
