"""Two steps through the runner: a model is trained on the chosen answers, then taught to prefer others over them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi_runner import artifacts, runner
from phi_runner.artifacts import Registered, Scorecard, TrainedModel
from phi_runner.config.schema import DpoTrain, FileData, RunConfig, StageName
from phi_runner.errors import ConfigProblem
from tests import runs
from tests.data.chats import write_jsonl

pytestmark = pytest.mark.filterwarnings("default")
_STAGES = (StageName.data, StageName.train, StageName.evaluate, StageName.register)


def _perform(config: RunConfig, name: str) -> dict[str, Any]:
    folder = Path(config.outputs) / "runs" / name
    runner.perform(config, folder=folder, overrides=[], recipe="", trial=None)
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return {stage["name"]: stage for stage in record["stages"]} | {"values": record["values"]}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A first step on pairs: it learns their chosen answers, plain to half of the questions, polite to the others."""
    folder = tmp_path_factory.mktemp("two_steps")
    plain = [
        {"prompt": wording.format(question), "chosen": answer, "rejected": f"Yes, {answer}"}
        for question, answer in runs.FACTS.items()
        for wording in ("{}", "Tell me: {}", "Please answer: {}", "Quick question: {}")
    ]
    polite = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in plain]
    write_jsonl(folder / "pairs.jsonl", polite)
    data = FileData(train_file=str(write_jsonl(folder / "taught.jsonl", [*plain[::2], *polite[1::2]])))
    return runs.config(StageName.data, StageName.train, outputs=folder / "outputs", data=data)


def test_two_steps(first: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    done = _perform(first, "first")
    assert done["data"]["summary"].endswith("(preference)")
    said = capsys.readouterr().out
    assert "learns the chosen ones (train=dpo compares the two)" in said
    named = said.partition("model=local model.path=")[2].split()[0]
    assert named == f"{first.outputs}/runs/first/results/train/model"

    pairs = FileData(train_file=str(Path(first.outputs).parent / "pairs.jsonl"))
    train = DpoTrain(**runs.train_values(epochs=12, learning_rate=1e-2), rank=8, alpha=16)
    second = replace(first, data=pairs, model=replace(first.model, path=named), train=train, stages=list(_STAGES))
    done = _perform(second, "second")
    trained = artifacts.load(TrainedModel, folder=Path(done["train"]["result"]))
    assert trained.adapter
    assert (trained.model_folder / "adapter_model.safetensors").is_file()
    assert (trained.folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    history = json.loads((trained.folder / "history.json").read_text())
    assert next(line for line in reversed(history) if "eval_loss" in line)["eval_rewards/accuracies"] == 1.0
    card = artifacts.load(Scorecard, folder=Path(done["evaluate"]["result"]))
    assert card.preferred_before is not None
    assert card.preferred_before < 0.9
    assert card.preferred_after == 1.0
    assert f"prefers the chosen answer {card.preferred_before:.0%} -> 100%" in done["evaluate"]["summary"]
    assert done["values"]["preferred_after"] == 1.0
    _check_tracked(trained, second)
    registered = artifacts.load(Registered, folder=Path(done["register"]["result"]))
    assert (registered.model_folder / "model.safetensors").is_file()
    assert f"model.path={second.outputs}/runs/second/results/register/merged" in capsys.readouterr().out
    _check_refusal(first, named)


def _check_tracked(trained: TrainedModel, config: RunConfig) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{config.outputs}/mlflow.db")
    margins = [point.value for point in client.get_metric_history(trained.tracking_run, "rewards/margins")]
    assert margins[0] == 0.0
    assert margins[-1] > 0.0
    assert client.get_run(trained.tracking_run).data.params["train.beta"] == "0.1"


def _check_refusal(first: RunConfig, named: str) -> None:
    folder = Path(first.outputs).parent
    wrong = replace(
        first, train=DpoTrain(**runs.train_values()), data=FileData(train_file=str(runs.facts_file(folder))),
        model=replace(first.model, path=named),
    )  # fmt: skip
    with pytest.raises(
        ConfigProblem, match=r"^train=dpo learns from pairs of answers .* holds rows of format messages"
    ):
        _perform(wrong, "wrong")
