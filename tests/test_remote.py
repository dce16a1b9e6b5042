"""The entry that runs a stage on a node: what it tells, what it leaves, and how it ends."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from phi_runner import artifacts, remote, task
from phi_runner.artifacts import Dataset, Scorecard, TrainedModel
from phi_runner.config.schema import (
    AccountAzure,
    AzureCompute,
    CpuCompute,
    FileData,
    FullTrain,
    GpuCompute,
    LocalModel,
    RehearsalAzure,
    RunConfig,
    StageName,
)
from phi_runner.events import Kind
from phi_runner.stages import data
from phi_runner.stages.stage import Inputs
from phi_runner.task import Said, Task
from tests import runs

pytestmark = pytest.mark.filterwarnings("ignore")
_KEY = "5" * 64


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node's disk: the job's inputs and its output folders."""

    folder: Path
    config: RunConfig
    dataset: Dataset

    def arguments(self, stage: str, *, config: RunConfig | None = None, **more: Path | str) -> list[str]:
        told = Task(
            stage=StageName(stage), key=_KEY, config=config or self.config,
            inputs={StageName.data: task.fields_of(self.dataset)},
        )  # fmt: skip
        if trained := more.get("trained"):
            values = task.fields_of(artifacts.load(TrainedModel, folder=self.folder / "summary"))
            told.inputs[StageName.train] = values | {"in_cloud": True}
            assert Path(trained).is_dir()
        given: dict[str, Path | str] = {
            "config": task.write(told, file=self.folder / "job.yaml"), "train-file": self.dataset.train_file,
            "eval-file": self.dataset.test_file, "summary": self.folder / "summary",
        }  # fmt: skip
        given |= more
        return ["--stage", stage, *(text for name, value in given.items() for text in (f"--{name}", str(value)))]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    compute = AzureCompute(cluster="c", vm_size="Standard_E16s_v3", image="i")
    config = replace(
        runs.config(
            outputs=tmp_path / "elsewhere", azure=RehearsalAzure(), train=FullTrain(**runs.train_values(epochs=2)),
            data=FileData(train_file=str(runs.facts_file(tmp_path))),
        ),
        compute=compute,
    )  # fmt: skip
    rundir, _heard = runs.rundir(tmp_path / "data", outputs=tmp_path, stage="data")
    dataset = data.STAGE.run(config, Inputs({}, {}), rundir)
    assert isinstance(dataset, Dataset)
    return Node(folder=tmp_path / "node", config=config, dataset=dataset)


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[Said]]:
    def lines() -> list[Said]:
        found = (task.parse(line) for line in capfd.readouterr().out.splitlines())
        return [item for item in found if item is not None]

    return lines


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_a_job_file_is_the_config_again(node: Node) -> None:
    arguments = node.arguments("train")
    file = Path(arguments[arguments.index("--config") + 1])
    told = task.read(file)
    assert told.config == node.config
    assert told.key == _KEY
    assert told.inputs[StageName.data] == task.fields_of(node.dataset)
    changed = task.read(file, overrides=["train.learning_rate=0.25", "seed=7"])
    assert (changed.config.train.learning_rate, changed.config.seed) == (0.25, 7)


def test_an_adapter_is_trained_merged_and_measured_on_the_node(
    node: Node, tiny_model: Path, said: Callable[[], list[Said]]
) -> None:
    config = replace(node.config, model=LocalModel(path="/not/on/this/node"), train=runs.lora(epochs=1))
    places = {name: node.folder / name for name in ("result", "model-output", "checkpoints")}
    assert remote.main(node.arguments("train", config=config, **places, **{"base-model": tiny_model})) == 0
    told = said()
    assert "computes on cpu" in told[0].message
    assert [item.values["done"] for item in told if item.kind is Kind.progress][-1] == 3
    summary = node.folder / "summary"
    trained = artifacts.load(TrainedModel, folder=summary)
    assert (trained.adapter, trained.base) == (True, str(tiny_model))
    assert (node.folder / "result" / "model" / "adapter_model.safetensors").is_file()
    assert {"history.json", "loss.png", "model_requirements.txt"} <= {file.name for file in summary.iterdir()}
    assert (node.folder / "model-output" / "MLmodel").is_file()
    assert (node.folder / "model-output" / "model" / "model.safetensors").is_file()  # merged: no adapter, no base
    assert "azureml-ai-monitoring" in (node.folder / "model-output" / "requirements.txt").read_text()
    assert not list((node.folder / "checkpoints").iterdir())
    places = {"trained": node.folder / "result", "summary": node.folder / "measured", "base-model": tiny_model}
    assert remote.main(node.arguments("evaluate", config=config, **places)) == 0
    card = artifacts.load(Scorecard, folder=node.folder / "measured")
    assert card.rows == node.dataset.test_rows
    assert (node.folder / "measured" / "answers.jsonl").is_file()


def test_what_goes_wrong_is_told_in_our_words(node: Node, said: Callable[[], list[Said]]) -> None:
    config = replace(node.config, train=FullTrain(**runs.train_values(max_length=1)))
    assert remote.main(node.arguments("train", config=config)) == 1
    last = said()[-1]
    assert last.kind is None
    assert last.message == "no train dialogue fits into train.max_length=1: type a larger one"
    assert not (node.folder / "summary").exists()


def test_a_node_that_is_taken_away_leaves_its_checkpoint(node: Node, said: Callable[[], list[Said]]) -> None:
    config = replace(node.config, train=FullTrain(**runs.train_values(epochs=12, save_steps=5)))
    checkpoints = node.folder / "checkpoints"
    arguments = node.arguments("train", config=config, checkpoints=checkpoints, result=node.folder / "result")
    command = [sys.executable, "-m", "phi_runner.remote", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        until = time.monotonic() + 120
        while not list(checkpoints.glob("checkpoint-*/trainer_state.json")):
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 128 + signal.SIGTERM
        assert child.stdout is not None
        assert "which is saved" in child.stdout.read()
    assert not (node.folder / "result").exists()
    step = max(int(place.name.rpartition("-")[2]) for place in checkpoints.glob("checkpoint-*"))
    assert remote.main(node.arguments("train", config=config, checkpoints=checkpoints)) == 0
    assert any(item.message.startswith(f"continues from step {step},") for item in said())


def test_only_the_first_process_tells_and_publishes(
    node: Node, monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[Said]]
) -> None:
    monkeypatch.setenv("RANK", "1")  # without a WORLD_SIZE torch waits for nobody
    assert remote.main(node.arguments("train", result=node.folder / "result")) == 0
    assert said() == []
    assert not (node.folder / "summary").exists()
    assert not (node.folder / "result").exists()


@pytest.mark.parametrize(
    ("rank", "compute"),
    [
        (remote.Rank(), GpuCompute(device=0)),
        (remote.Rank(world=4, number=3, local=1, local_world=2), GpuCompute(device=1)),
    ],
)
def test_each_process_has_a_device_of_its_own(
    rank: remote.Rank, compute: GpuCompute, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "set, so that it is put back")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with_gpu = AzureCompute(cluster="c", vm_size="v", image="i", gpu=True)
    config = replace(node.config, compute=with_gpu, azure=AccountAzure(subscription="s", tenant="t"))
    assert remote._compute(config, rank) == compute
    assert isinstance(remote._compute(node.config, rank), CpuCompute)
    assert isinstance(remote._compute(replace(node.config, compute=with_gpu), rank), CpuCompute)  # rehearsed


def test_lines_that_are_not_events_are_left_alone() -> None:
    assert task.parse("Epoch 1: loss 2.0") is None
    assert task.parse("##phi_runner {half a line") is None
    assert task.parse('##phi_runner {"kind": "no such kind", "message": "", "values": {}}') is None
    assert json.loads(task.failure_line("why").removeprefix("##phi_runner "))["message"] == "why"
