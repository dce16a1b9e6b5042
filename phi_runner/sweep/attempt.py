"""One try at a trial: one process at a time, skipped where it was done before, written down however it ends.

`trial.json` in the trial's folder says who the trial is, how often it was tried and how the last try ended. A try that
was killed leaves `running` behind; whoever gets the trial's lock next knows that nobody is at it any more.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from phi_runner import locks
from phi_runner.config.trial import Plain, State, Trial
from phi_runner.errors import StoreProblem
from phi_runner.store import write_json

TRIAL_FILE = "trial.json"
RUN_FILE = "run.json"
_FINISHED = {State.done, State.pruned}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The latest try at a trial."""

    id: str
    number: int
    """Its place among the trials of the command that made it."""
    values: dict[str, Plain]
    """The swept keys with the trial's own values."""
    overrides: list[str]
    status: State = State.running
    tries: int = 1
    objective: float | None = None
    seconds: float = 0.0
    error: str = ""
    started_at: float = field(default_factory=time.time)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    stages: dict[str, str] = field(default_factory=dict)
    """Keys of the results that it has made or reused, by stage; without a key: nothing is left of that stage."""

    @property
    def finished(self) -> bool:
        """Whether it came to an end of its own."""
        return self.status in _FINISHED

    def write(self, folder: Path) -> None:
        """Leave it in the trial's folder."""
        write_json(folder / TRIAL_FILE, asdict(self))

    def ended(self, status: State, *, folder: Path, objective: float | None = None, error: str = "") -> "Attempt":
        """Return it with how it ended, and with what its run has recorded."""
        stages = {str(item["name"]): str(item["key"]) for item in _stages(folder)}
        seconds = round(time.time() - self.started_at, 3)
        return replace(self, status=status, objective=objective, error=error, seconds=seconds, stages=stages)


def read(folder: Path, *, trial: str) -> Attempt | None:
    """Return the latest try at a trial, or None where there is none or nothing that can be read."""
    try:
        told = json.loads((folder / TRIAL_FILE).read_text(encoding="utf-8"))
        found = Attempt(**{**told, "status": State(told["status"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if found.id == trial else None


def begun(folder: Path, *, trial: Trial, overrides: list[str], before: Attempt | None) -> Attempt:
    """Write down that a try begins; raises StoreProblem."""
    tries = before.tries + 1 if before and not before.finished else 1
    attempt = Attempt(id=trial.id, number=trial.number, values=trial.values, overrides=overrides, tries=tries)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        attempt.write(folder)
    except OSError as err:
        raise StoreProblem(f"cannot write {folder}: {err.strerror}; choose another place with outputs=FOLDER") from err
    return attempt


@contextmanager
def held(folder: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Keep other processes from the same trial during a block."""
    with locks.held(folder.parent / ".locks" / f"{folder.name}.lock", on_wait=on_wait):
        yield


def outdated(attempt: Attempt, *, folder: Path, keys: Mapping[str, str], made_anew: Mapping[str, str]) -> str:
    """Say why a finished trial has to be run again, or nothing.

    `keys` are those of its results as they would be made now, `made_anew` says why a stage would have to run.
    """
    known = {str(item["name"]): item for item in _stages(folder)}
    if not known:
        return f"{RUN_FILE} is missing or half written"
    for stage, key in keys.items():
        record = known.get(stage)
        if record is None or (key and record["key"] and record["key"] != key):
            return f"{stage} has another config, other rows or other code than then"
        if stage in made_anew and record["status"] in {"done", "reused"}:
            return f"{stage}: {made_anew[stage]}"
    return ""


def _stages(folder: Path) -> list[dict[str, str]]:
    """Return what a run's record says of its stages, nothing where it cannot be read."""
    try:
        stages = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["stages"]
        return [{name: str(item[name]) for name in ("name", "key", "status")} for item in stages]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def run_status(folder: Path) -> State:
    """Return how a run that raised nothing has ended: done, or pruned."""
    try:
        told = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError):
        return State.done
    return State.pruned if told == State.pruned else State.done
