"""One variant, once: run it in its own process, read its steps, and say what they come to."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import watched
from benchmarks.peers import Peer, Step, begun_at_s
from benchmarks.peers.venv import CannotInstall, interpreter
from benchmarks.tasks import Task

_LEAST_S = 20.0
"""Less time than this is not worth starting an interpreter in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run of a variant showed."""

    rate: float | None = None
    """Tokens a second, padding not counted, over all steps but the first."""
    first_s: float | None = None
    """From the start of the process to the end of its first step."""
    peak_gib: float | None = None
    gpu_gib: float | None = None
    losses: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Tokens seen up to the end of each step: equal ones mean equal batches."""
    note: str = ""


def measure(peer: Peer, task: Task, *, venvs: Path, limit_s: float, install_s: float) -> Measured:
    """Run a variant for at most `limit_s`, its environment's making, at most `install_s`, not counted."""
    if limit_s < _LEAST_S:
        return Measured(note="left out: no time left in --quick")
    try:
        python = interpreter(peer, folder=venvs, limit_s=install_s)
    except CannotInstall as err:
        return Measured(note=f"does not run: {err}")
    shutil.rmtree(task.folder, ignore_errors=True)
    task.folder.mkdir(parents=True)
    try:
        command = peer.command(task, python)
    except subprocess.CalledProcessError as err:
        return Measured(note=f"does not run: {err.stderr.decode().strip().splitlines()[-1][:200]}")
    path = (
        f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"  # some start programs of their environment by name
    )
    environment = {"PATH": path, **dict(peer.environment)}
    found = watched.run(command, folder=task.folder, limit_s=limit_s, environment=environment, gpu=task.cuda)
    try:
        steps = peer.steps(found, task)
    except (ValueError, OSError):  # it ended before there was anything to read
        steps = []
    measured = _from_steps(steps, begun_at_s(found), found, task=task)
    return replace(
        measured, losses=[step.loss for step in steps if step.loss is not None],
        tokens=[step.tokens for step in steps], first_s=steps[0].at_s if steps else None,
        peak_gib=found.peak_bytes / 2**30 if steps or found.stopped else None,
        gpu_gib=found.peak_gpu_bytes / 2**30 if steps and task.cuda else None,
    )  # fmt: skip


def _from_steps(steps: list[Step], begun_s: float | None, found: watched.Watched, *, task: Task) -> Measured:
    """Say how fast it was: over steady steps where there are any, else the first, else no faster than the limit."""
    stopped = f"stopped after {found.seconds:.0f} s and {len(steps)} steps" if found.stopped else ""
    if len(steps) > 1:
        first, last = steps[0], steps[-1]
        rate = (last.tokens - first.tokens) / (last.at_s - first.at_s)
        failed = "" if found.stopped or not found.code else f"afterwards: {found.complaint()}"
        return Measured(rate=rate, note=stopped or failed)
    if steps and begun_s is not None:
        return Measured(rate=steps[0].tokens / (steps[0].at_s - begun_s), note=f"its first step only; {stopped}")
    if not found.stopped:
        return Measured(note=f"does not run: {found.complaint()}")
    step = task.batch * task.context
    if begun_s is None:
        return Measured(note=f"no two steps of {step} tokens within {found.seconds:.0f} s")
    spent_s = found.seconds - begun_s
    return Measured(rate=step / spent_s, note=f"at most this: no step of {step} tokens ended within {spent_s:.0f} s")
