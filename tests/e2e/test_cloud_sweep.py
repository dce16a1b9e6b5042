"""A multirun as one sweep job of the emulated workspace, through the real command."""

import json
from pathlib import Path

import pytest

from tests.e2e import cli, cloud

pytest.importorskip("azure.ai.ml")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
_SMALL = [item for item in cloud.SMALL if not item.startswith(("train.learning_rate", "train.epochs"))]
_TYPED = (
    "-m", "train.learning_rate=1e-5,1e-2", "train.epochs=4", "compute=azure_cpu", "azure=rehearsal",
    "azure.folder=cloud", "azure.sweep=true", "stages=[infra,data,train,evaluate]", "data=jsonl",
    "data.train_file=facts.jsonl", *_SMALL,
)  # fmt: skip


def test_two_values_are_one_sweep_job_with_two_trials(tmp_path: Path) -> None:
    folder = cloud.folder_with_facts(tmp_path)
    said = cli.run(folder, *_TYPED)
    puts = [call for call in cloud.asked(folder, "PUT", "/jobs/[^/]+") if call.status < 300]
    assert [call.request["properties"]["jobType"] for call in puts] == ["Sweep"]
    (record,) = cli.records(folder)
    assert cli.statuses(record) == {"infra": "done", "data": "done", "train": "done", "evaluate": "skipped"}
    (file,) = (folder / "outputs/runs").glob("*/results.json")
    results = json.loads(file.read_text())
    assert [(trial["status"], trial["overrides"]) for trial in results.values()] == [
        ("done", ["train.learning_rate=1e-05"]), ("done", ["train.learning_rate=0.01"]),
    ]  # fmt: skip
    assert [trial["values"]["best"] for trial in results.values()] == [False, True]
    losses = [trial["values"]["loss_after"] for trial in results.values()]
    assert losses[1] < losses[0]
    assert "for its model type train.learning_rate=0.01 azure.sweep=false" in said
    assert not (folder / "outputs/sweeps").exists()
