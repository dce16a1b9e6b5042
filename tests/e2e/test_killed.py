"""SIGKILL at random moments of the full recipe, then the same command: always the same results (`-m slow`)."""

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


def _bytes_of(folder: Path) -> list[bytes]:
    [model] = folder.glob("outputs/store/train/*/model")
    return [(model / name).read_bytes() for name in ("model.safetensors", "tokenizer.json")]


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
