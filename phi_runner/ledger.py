"""What runs have made in Azure, written down before it is made: `outputs/ledger.jsonl`, one event a line.

A line is in the file and on the disk before the cloud is asked, so that whatever a killed run has made is known here.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum, auto
from pathlib import Path
from typing import Any

from phi_runner import locks
from phi_runner.errors import StoreProblem

LEDGER_FILE = "ledger.jsonl"


class Made(StrEnum):
    """What can stand in the ledger, in the order in which it is removed."""

    connection = auto()
    deployment = auto()
    endpoint = auto()
    job = auto()
    cluster = auto()
    project = auto()
    hub = auto()
    role_assignment = auto()
    workspace = auto()
    identity = auto()
    registry = auto()
    app_insights = auto()
    log_analytics = auto()
    key_vault = auto()
    storage = auto()
    resource_group = auto()


class Step(StrEnum):
    """How far a thing has come."""

    planned = auto()
    made = auto()
    removed = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing: `planned` may or may not exist, `made` does, `removed` does not."""

    kind: Made
    resource: str
    """ARM id."""
    usd_per_hour: float
    """Most that it can bill; 0: nothing by the hour."""
    region: str
    scope: str
    """Cloud that it is in: `public`, `china`, ... or `rehearsal`."""
    step: Step
    at: str
    """When that was, UTC."""

    @property
    def bills(self) -> bool:
        """Say whether it costs something merely by being there."""
        return self.usd_per_hour > 0

    @property
    def name(self) -> str:
        """What it is called in Azure."""
        return self.resource.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one outputs folder; several processes may write it. Raises StoreProblem."""

    outputs: Path

    @property
    def file(self) -> Path:
        """The file itself."""
        return self.outputs / LEDGER_FILE

    def plan(self, kind: str, resource: str, *, usd_per_hour: float = 0.0, region: str = "", scope: str) -> None:
        """Write down what is about to be made; a thing that stands there already is not written again."""
        entry = Entry(
            kind=Made(kind), resource=resource, usd_per_hour=usd_per_hour, region=region, scope=scope,
            step=Step.planned, at=_now(),
        )  # fmt: skip
        with self._alone():
            if resource.lower() not in self._open():
                self._write(entry)

    def made(self, resource: str) -> None:
        """Write down that a planned thing exists."""
        self._move(resource, step=Step.made, frm=(Step.planned,))

    def removed(self, resource: str) -> None:
        """Write down that a thing is gone, and with it everything that lay inside."""
        with self._alone():
            inside = [entry for entry in self._open().values() if _within(entry.resource, resource)]
            for entry in inside:
                self._write(_at_step(entry, Step.removed))

    @contextmanager
    def making(
        self, kind: str, resource: str, *, usd_per_hour: float = 0.0, region: str = "", scope: str
    ) -> Iterator[None]:
        """Plan a thing that the block makes; if the block fails the thing stays planned, for it may exist."""
        self.plan(kind, resource, usd_per_hour=usd_per_hour, region=region, scope=scope)
        yield
        self.made(resource)

    def open(self) -> list[Entry]:
        """Return what may still exist, in the order in which it is removed."""
        order = list(Made)
        return sorted(self._open().values(), key=lambda entry: order.index(entry.kind))

    def holds(self, resource: str) -> bool:
        """Say whether runs of this outputs folder made a thing (or were about to) and have not removed it."""
        return resource.lower() in self._open()

    def took_away(self, resource: str) -> bool:
        """Say whether the last thing written down of a resource is that it was removed."""
        steps = [entry.step for entry in self._entries() if entry.resource.lower() == resource.lower()]
        return bool(steps) and steps[-1] is Step.removed

    def _move(self, resource: str, *, step: Step, frm: tuple[Step, ...]) -> None:
        with self._alone():
            entry = self._open().get(resource.lower())
            if entry and entry.step in frm:
                self._write(_at_step(entry, step))

    def _open(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for entry in self._entries():
            if entry.step is Step.removed:
                found.pop(entry.resource.lower(), None)
            else:
                found[entry.resource.lower()] = entry
        return found

    def _entries(self) -> Iterator[Entry]:
        try:
            lines = self.file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as err:
            raise StoreProblem(f"cannot read {self.file}: {err.strerror or err}") from err
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last line end was never written whole
            if line:
                yield self._parsed(line, number=number)

    def _parsed(self, line: bytes, *, number: int) -> Entry:
        try:
            values: dict[str, Any] = dict(json.loads(line))
            values.pop("bills", None)
            return Entry(**values | {"kind": Made(values["kind"]), "step": Step(values["step"])})
        except (ValueError, TypeError, KeyError) as err:
            raise StoreProblem(
                f"{self.file}, line {number} is damaged: mend or remove the line, it says what still bills"
            ) from err

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            with locks.held(self.file.with_name(f".{LEDGER_FILE}.lock"), on_wait=lambda: None):
                yield
        except OSError as err:
            raise StoreProblem(f"cannot write {self.file}: {err.strerror or err}") from err

    def _write(self, entry: Entry) -> None:
        """Add a line after the last whole one; it is on the disk when this returns."""
        line = json.dumps(asdict(entry) | {"bills": entry.bills}) + "\n"
        new = not self.file.exists()
        with self.file.open("ab+") as stream:
            stream.truncate(self._whole())
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())
        if new:
            _sync_folder(self.outputs)

    def _whole(self) -> int:
        """Return the length of the file up to its last line end, in bytes: a killed writer may have left less."""
        return self.file.read_bytes().rfind(b"\n") + 1


def _within(resource: str, parent: str) -> bool:
    return f"{resource.lower()}/".startswith(f"{parent.lower().rstrip('/')}/")


def _at_step(entry: Entry, step: Step) -> Entry:
    values = asdict(entry) | {"step": step, "at": _now()}
    return Entry(**values)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
