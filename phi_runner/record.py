"""The files a run leaves: `run.log` for people and `run.json` for machines."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from phi_runner.events import Event, Kind
from phi_runner.store import write_json

_FLUSH_PROGRESS_S = 2.0


@dataclass(slots=True, kw_only=True)
class StageRecord:
    """How one stage of a run went."""

    name: str
    status: str = "waiting"
    why: str = ""
    key: str = ""
    result: str = ""
    seconds: float = 0.0
    summary: str = ""
    """The result in a few words."""


@dataclass(slots=True, kw_only=True)
class RunRecord:
    """A whole run; the file is rewritten at every event that is not progress, so a killed run leaves a true one."""

    file: Path
    recipe: str
    overrides: list[str]
    command: str
    stages: list[StageRecord]
    started_at: float = field(default_factory=time.time)
    status: str = "running"
    error: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    _written_at: float = 0.0

    def stage(self, name: str) -> StageRecord:
        """Return the record of a stage of this run."""
        return next(item for item in self.stages if item.name == name)

    def write(self) -> None:
        """Write the file now."""
        facts = {name: getattr(self, name) for name in ("recipe", "overrides", "command", "status", "error", "values")}
        write_json(
            self.file,
            facts
            | {"started_at": self.started_at, "seconds": round(time.time() - self.started_at, 3)}
            | {"stages": [asdict(item) for item in self.stages], "events": self.events},
        )
        self._written_at = time.time()

    def take(self, event: Event) -> None:
        """Keep an event; of a stage's progress only the latest, or the file would grow with every step."""
        known = self.events[-1] if self.events else None
        if known and event.kind is Kind.progress and (known["kind"], known["stage"]) == (event.kind, event.stage):
            self.events.pop()
        self.events.append(asdict(event))
        if event.kind is not Kind.progress or event.at - self._written_at > _FLUSH_PROGRESS_S:
            self.write()


class LogFile:
    """One line an event, with its time; progress is left to `run.json`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def take(self, event: Event) -> None:
        """Write a line."""
        if event.kind is Kind.progress:
            return
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
        word = event.kind.value.replace("_", " ")
        self._stream.write(f"{clock} {event.stage or 'run':9} {word}: {event.message}\n")
        self._stream.flush()
