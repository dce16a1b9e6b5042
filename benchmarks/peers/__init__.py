"""Whom we are measured against, one file each: what is installed, what is typed, and how its steps are read."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tasks import Task
from benchmarks.watched import Watched

TOKENS = re.compile(r"num_input_tokens_seen['\"]?: ['\"]?(\d+)")
LOSS = re.compile(r"['\"]loss['\"]: ['\"]?([\d.]+)")
BEGUN = "Running training"
"""transformers' Trainer writes it when the first step begins, and so does every script here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The end of an optimiser step."""

    at_s: float
    """Seconds since the command was started."""
    tokens: int
    """All tokens that were trained on until then, padding not counted."""
    loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One way to do a task."""

    name: str
    about: str
    command: Callable[[Task, Path], list[str]]
    """What is typed, given the task and the interpreter; writes its settings into the task's folder."""
    packages: tuple[str, ...] = ()
    """What its own environment holds; none: this interpreter's packages."""
    bare: tuple[str, ...] = ()
    """Packages installed after those, without what they ask for: pip finds no set that suits them all."""
    removed: tuple[str, ...] = ()
    """Packages that its installation brings and that cannot be imported beside a torch for processors."""
    stubs: tuple[str, ...] = ()
    """Modules that it imports and does not need here: empty ones are put in their place."""
    environment: tuple[tuple[str, str], ...] = ()
    steps: "Callable[[Watched, Task], list[Step]]"
    slow_bf16: bool = False
    """It multiplies in bf16 whatever the machine: without hardware for it, expect no step within the limit."""


def printed(watched: Watched, _task: Task) -> list[Step]:
    """Read the steps that transformers' Trainer prints with `logging_steps=1`."""
    found = []
    for line in watched.lines:
        tokens, loss = TOKENS.search(line.text), LOSS.search(line.text)
        if tokens and loss:
            found.append(Step(at_s=line.at_s, tokens=int(tokens[1]), loss=float(loss[1])))
    return found


def begun_at_s(watched: Watched) -> float | None:
    """Return when the first step began, where the variant says so."""
    return next((line.at_s for line in watched.lines if BEGUN in line.text), None)
