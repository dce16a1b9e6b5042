"""One stream of events: stages say what happens, sinks turn it into a log, a live view and `run.json`."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool | None


class Kind(StrEnum):
    """What an event tells."""

    run_started = auto()
    stage_started = auto()
    stage_reused = auto()
    stage_finished = auto()
    stage_failed = auto()
    stage_skipped = auto()
    stage_pruned = auto()
    """A sweep gave the trial up; no failure."""
    info = auto()
    warning = auto()
    progress = auto()
    run_finished = auto()
    run_failed = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened; `at` is seconds since the epoch, `values` are small and safe to store."""

    kind: Kind
    message: str
    stage: str = ""
    at: float = field(default_factory=time.time)
    values: dict[str, Value] = field(default_factory=dict)


Sink: TypeAlias = Callable[[Event], None]


class Events:
    """Hands each event to every sink, with the secrets that were named to it blotted out."""

    def __init__(self) -> None:
        self._sinks: list[Sink] = []
        self._secrets: set[str] = set()

    def listen(self, sink: Sink) -> None:
        """Send all events from now on to `sink` as well."""
        self._sinks.append(sink)

    def hide(self, secret: str) -> None:
        """Never let `secret` reach a sink."""
        if secret:
            self._secrets.add(secret)

    @property
    def hidden(self) -> frozenset[str]:
        """Return the secrets that were named, for whoever else writes about the run."""
        return frozenset(self._secrets)

    def redact(self, text: str) -> str:
        """Return `text` with every hidden secret replaced."""
        for secret in self._secrets:
            text = text.replace(secret, "[hidden]")
        return text

    def emit(self, kind: Kind, message: str, *, stage: str = "", **values: Value) -> None:
        """Tell every sink."""
        safe = {name: self.redact(value) if isinstance(value, str) else value for name, value in values.items()}
        event = Event(kind=kind, message=self.redact(message), stage=stage, values=safe)
        for sink in self._sinks:
            sink(event)


@dataclass(frozen=True, slots=True)
class StageEvents:
    """The stream as one stage sees it."""

    events: Events
    stage: str

    def info(self, message: str, **values: Value) -> None:
        """Say something worth a line in the log."""
        self.events.emit(Kind.info, message, stage=self.stage, **values)

    def warn(self, message: str, **values: Value) -> None:
        """Say something that the user should look at."""
        self.events.emit(Kind.warning, message, stage=self.stage, **values)

    def progress(self, done: int, total: int, message: str = "", **values: Value) -> None:
        """Say how far the stage is: `done` of `total` steps."""
        self.events.emit(Kind.progress, message, stage=self.stage, done=done, total=total, **values)

    def hide(self, secret: str) -> None:
        """Never let `secret` reach a log."""
        self.events.hide(secret)
