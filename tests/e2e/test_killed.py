"""SIGKILL at random moments and steps, then the same command: always the same results (`-m slow`)."""

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests import runs
from tests.e2e import cli

_PURE = ("data", "train", "evaluate", "register")
_KILLS = int(os.environ.get("PHI_RUNNER_KILLS", "10"))


def _processes_of(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cwd", "cmdline"])
        if process.info["cwd"] == str(folder) or str(folder) in " ".join(process.info["cmdline"] or [])
    ]


def _gone(folder: Path) -> bool:
    deadline = time.monotonic() + 30
    while _processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not _processes_of(folder)


def _bytes_of(folder: Path, *, weights: str = "model.safetensors") -> list[bytes]:
    [model] = folder.glob("outputs/store/train/*/model")
    return [(model / name).read_bytes() for name in (weights, "tokenizer.json")]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kill_dash_nine_at_random_moments_never_changes_the_result(tmp_path_factory: pytest.TempPathFactory) -> None:
    arguments = (
        *("+recipe=full", "data=jsonl", "data.train_file=facts.jsonl", *cli.SMALL),
        *("train.save_steps=10", "flow.question='Name a planet.'"),
    )
    plain = tmp_path_factory.mktemp("plain")
    runs.facts_file(plain)
    begun = time.monotonic()
    cli.run(plain, *arguments)
    whole_s = time.monotonic() - begun
    weights = _bytes_of(plain)
    wanted = {name: key for name, key in cli.keys(cli.records(plain)[-1]).items() if name in _PURE}
    chance = random.Random(int(os.environ.get("PHI_RUNNER_SEED", "0")))
    resumed = 0
    for round_number in range(_KILLS):
        folder = tmp_path_factory.mktemp(f"killed{round_number}")
        runs.facts_file(folder)
        process = cli.start(folder, *arguments)
        moment_s = chance.uniform(0.5, whole_s)
        time.sleep(moment_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert _gone(folder), f"kill at {moment_s:.1f} s left {_processes_of(folder)}"
        said = cli.run(folder, *arguments)
        resumed += "continues from step" in said
        record = cli.records(folder)[-1]
        assert record["status"] == "done", f"kill at {moment_s:.1f} s"
        assert {name: key for name, key in cli.keys(record).items() if name in _PURE} == wanted
        assert record["values"]["answer"] == "Mars."
        assert _bytes_of(folder) == weights, f"kill at {moment_s:.1f} s changed the weights or the tokenizer"
    print(f"{_KILLS} kills within {whole_s:.0f} s, {resumed} continued from a checkpoint")


def _steps_saved(folder: Path) -> int:
    places = (folder / "outputs/store/train").glob(".*.scratch/checkpoints/checkpoint-*")
    return max((int(place.name.rpartition("-")[2]) for place in places), default=0)


def _kill_after(folder: Path, *arguments: str, step: int, wait_s: float) -> None:
    """Start the command and kill it once it has saved `step` steps or more, and a while after that."""
    process = cli.start(folder, *arguments)
    deadline = time.monotonic() + 250
    while _steps_saved(folder) < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"step {step} was not reached"
        time.sleep(0.005)
    time.sleep(wait_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, f"it had ended before the kill at step {step}"
    assert _gone(folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("method", "weights"), [("full", "model.safetensors"), ("lora", "adapter_model.safetensors")])
def test_one_training_killed_at_ten_random_steps_has_the_weights_of_an_undisturbed_one(
    tmp_path_factory: pytest.TempPathFactory, method: str, weights: str
) -> None:
    arguments = (
        *("data=jsonl", "data.train_file=facts.jsonl", *cli.SMALL, f"train={method}", "train.epochs=80"),
        *("train.save_steps=7", "stages=[data,train]"),
    )
    plain, folder = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("killed")
    for place in (plain, folder):
        runs.facts_file(place)
    cli.run(plain, *arguments)
    [trained] = [stage for stage in cli.records(plain)[-1]["stages"] if stage["name"] == "train"]
    last = 80 * 3 - 20
    step_s = trained["seconds"] / 240
    chance = random.Random(int(os.environ.get("PHI_RUNNER_SEED", "0")))
    moments = sorted(chance.sample(range(1, last), _KILLS))
    for step in moments:
        _kill_after(folder, *arguments, step=step - step % 7, wait_s=chance.uniform(0, 7 * step_s))
    said = cli.run(folder, *arguments)
    assert "continues from step" in said
    assert cli.keys(cli.records(folder)[-1]) == cli.keys(cli.records(plain)[-1])
    assert _bytes_of(folder, weights=weights) == _bytes_of(plain, weights=weights), f"killed at {moments}"
    print(f"{method}: killed at steps {moments}, the weights are identical")
