"""One trial of a sweep, as it is asked for and as it ended."""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TypeAlias

Plain: TypeAlias = str | int | float | bool | list[object] | None
"""A swept value, free of Hydra's classes."""


class State(StrEnum):
    """Where a trial is."""

    waiting = auto()
    """Another process runs the very same trial."""
    running = auto()
    done = auto()
    reused = auto()
    """It was done before, and its results are still there."""
    pruned = auto()
    """It was given up because others were ahead of it."""
    failed = auto()
    interrupted = auto()


ENDED_WELL = frozenset({State.done, State.reused, State.pruned})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is asked for."""

    id: str
    number: int
    """Its place among the trials of this command."""
    values: dict[str, Plain] = field(default_factory=dict)
    """The swept keys with the trial's own values."""
    quiet: bool = False
    """Others run beside it and the terminal is theirs too: only its files tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended, unless it failed."""

    state: State
    objective: float | None = None
    told: str = ""
    """Why it was not run, where it was not."""
