"""Sweeps as they are typed, over a few rows and a model that trains within a second."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from phi_runner import runner
from phi_runner.config import endings, flags, hydra
from phi_runner.config.launch import launch
from tests.runs import facts_file

TINY = (
    "model.hidden_size=32", "model.intermediate_size=64", "model.layers=1", "model.heads=2", "model.vocab_size=300",
    "model.context=128", "train.max_length=64", "train.batch_size=8", "train.eval_batch_size=8", "train.packing=false",
    "compute.threads=1", "evaluate.prompts=2", "evaluate.max_new_tokens=4", "stages=[data,train,evaluate]",
)  # fmt: skip


def line(folder: Path, *typed: str) -> list[str]:
    """Return a sweep's command line over the rows in `folder`."""
    rows = folder / "facts.jsonl"
    if not rows.exists():
        facts_file(folder)
    return ["-m", *typed, "data=jsonl", f"data.train_file={rows}", f"outputs={folder / 'out'}"]


def swept(folder: Path, *typed: str, table: bool = False) -> int:
    """Perform a sweep in this process and return its exit code."""
    return performed(line(folder, *typed), table=table)


def performed(words: list[str], *, table: bool = False) -> int:
    """Do what a command line says, as the entry point does; the table with its plots takes longer than small trials."""
    parts = runner if table else SimpleNamespace(
        perform=runner.perform, perform_trial=runner.perform_trial, sweep_table=lambda _folder, *, asked: bool(asked)
    )  # fmt: skip
    with pytest.raises(SystemExit) as caught, endings.told():
        raise SystemExit(launch(flags.read(words), runner=lambda: parts))
    return int(caught.value.code or 0)


def started(folder: Path, *typed: str) -> "subprocess.Popen[str]":
    """Start a sweep in a process of its own, and of its own group, as a shell does."""
    return subprocess.Popen(
        [sys.executable, "-m", "phi_runner", *line(folder, *typed)], cwd=folder, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def killed(process: "subprocess.Popen[str]", *, when: Callable[[], bool], number: int = signal.SIGKILL) -> str:
    """Send a signal to a sweep's whole group once `when` holds, and return what it said."""
    while process.poll() is None and not when():
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[0]
    os.killpg(process.pid, number)
    return process.communicate()[0]


def trials(folder: Path) -> dict[str, dict[str, Any]]:
    """Return every `trial.json` by what was swept."""
    files = sorted(folder.glob("out/sweeps/*/*/trial.json"))
    return {json.dumps(told["values"]): told for told in (json.loads(file.read_text()) for file in files)}


def runs(folder: Path) -> list[dict[str, Any]]:
    """Return every `run.json` that can be read."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("out/sweeps/*/*/run.json"))]


def ways(folder: Path, stage: str) -> Counter[str]:
    """Count how a stage went in all trials."""
    return Counter(item["status"] for run in runs(folder) for item in run["stages"] if item["name"] == stage)


def begun(folder: Path) -> Counter[str]:
    """Count how often each trial was begun, by its folder."""
    logs = folder.glob("out/sweeps/*/*/run.log")
    return Counter({file.parent.name: file.read_text().count("run started:") for file in logs})


def refused(words: list[str]) -> None:
    """Do what a command line says that ends before anything runs."""
    launch(flags.read(words), runner=lambda: runner)


def launcher_settings(name: str, *more: str) -> Any:
    """Return Hydra's settings of a launcher, as a preset gives them."""
    hydra.register()
    return hydra.compose([f"hydra/launcher={name}", *more], extra=None).hydra.launcher
