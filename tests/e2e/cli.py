"""Run the real command line in a process of its own and read what it left."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SMALL = (
    "model.hidden_size=64", "model.intermediate_size=128", "model.layers=2", "model.heads=2", "model.vocab_size=500",
    "train.batch_size=8", "train.learning_rate=5e-3", "train.epochs=40", "compute.threads=1", "evaluate.prompts=4",
)  # fmt: skip
"""A model that learns a few facts within seconds."""
_OFFLINE = Path(__file__).with_name("offline")


def guarded(folder: Path) -> dict[str, str]:
    """Return an environment in which Python refuses every address but loopback and writes the tries into `folder`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return environment | {"PYTHONPATH": str(_OFFLINE), "PHI_RUNNER_TEST_CALLS": str(folder / "calls_outside.txt")}


def start(folder: Path, *arguments: str, options: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    """Start `python -m phi_runner` in `folder`; it and its children are refused every address but loopback."""
    return subprocess.Popen(
        [sys.executable, *options, "-m", "phi_runner", *arguments], cwd=folder, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=guarded(folder),
    )  # fmt: skip


def run(
    folder: Path, *arguments: str, typed: str = "", expect: int = 0, options: tuple[str, ...] = ()
) -> str:  # fmt: skip
    """Run the command to its end and return stdout and stderr together; fails when the exit code is another."""
    process = start(folder, *arguments, options=options)
    out, err = process.communicate(typed, timeout=280)
    assert process.returncode == expect, f"exit {process.returncode}\n{out[-3000:]}\n{err[-3000:]}"
    return out + err


def records(folder: Path) -> list[dict[str, Any]]:
    """Return every run's `run.json`, oldest first."""
    files = sorted((folder / "outputs/runs").glob("*/run.json"), key=lambda file: file.parent.stat().st_ctime)
    return sorted((json.loads(file.read_text()) for file in files), key=lambda record: record["started_at"])


def statuses(record: dict[str, Any]) -> dict[str, str]:
    """Return each stage's status."""
    return {stage["name"]: stage["status"] for stage in record["stages"]}


def keys(record: dict[str, Any]) -> dict[str, str]:
    """Return each stage's key."""
    return {stage["name"]: stage["key"] for stage in record["stages"]}
