"""A run that is killed, stopped, or short of disk, and the same command typed again."""

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests import runs
from tests.e2e import cli

if TYPE_CHECKING:
    import subprocess

_ARGUMENTS = (
    *("data=jsonl", "data.train_file=facts.jsonl", "stages=[data,train]"),
    *(*cli.SMALL, "train.epochs=150", "train.save_steps=10"),
)


def _wait_for_checkpoint(folder: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if list((folder / "outputs/store/train").glob(".*.scratch/checkpoints/checkpoint-*/trainer_state.json")):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("no checkpoint was written")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    runs.facts_file(tmp_path)
    return tmp_path


def test_training_goes_on_from_its_checkpoint_after_a_kill_and_ends_as_if_nothing_had_been(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    process = cli.start(folder, *_ARGUMENTS)
    _wait_for_checkpoint(folder, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    said = cli.run(folder, *_ARGUMENTS)
    assert "continues from step" in said
    undisturbed = tmp_path_factory.mktemp("undisturbed")
    runs.facts_file(undisturbed)
    cli.run(undisturbed, *_ARGUMENTS)
    after, plain = cli.records(folder)[-1], cli.records(undisturbed)[-1]
    assert cli.keys(after) == cli.keys(plain)
    weights = [
        next(place.glob("outputs/store/train/*/model/model.safetensors")).read_bytes()
        for place in (folder, undisturbed)
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_a_stopped_run_is_resumable_and_leaves_no_process(folder: Path, number: signal.Signals) -> None:
    process = cli.start(folder, *_ARGUMENTS)
    _wait_for_checkpoint(folder, process)
    process.send_signal(number)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert "which is saved: type the same command to go on from there" in err
    [file] = (folder / "outputs/runs").glob("*/run.json")
    record = json.loads(file.read_text())
    assert record["status"] == "interrupted"
    assert cli.statuses(record)["train"] == "interrupted"
    assert not [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(folder)]
    assert "continues from step" in cli.run(folder, *_ARGUMENTS)


def test_outputs_that_cannot_be_a_folder_are_one_line(folder: Path) -> None:
    (folder / "outputs").write_text("in the way")
    process = cli.start(folder, *_ARGUMENTS)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "outputs" in err
