"""How a run steers a gateway: a plan that the run replaces, a report that the gateway replaces, in one private folder.

Each file has one writer and is renamed into place, so a reader sees the old one or the new one, whoever is killed when.
A report names the plan that it answers by its generation.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum, auto
from pathlib import Path

PLAN_FILE, REPORT_FILE, SETTINGS_FILE = "plan.json", "report.json", "gateway.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What stays as it is for a gateway's life."""

    name: str
    folder: str
    """Where the plan is read and the report is written."""
    key_file: str
    host: str = "127.0.0.1"
    port: int = 0
    module: str = "phi_runner.serve"
    """What runs a deployment: a module that takes `--settings FILE` and announces its port as that file says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A deployment that is to be there."""

    name: str
    settings: str
    """File with the fields of `Settings`; its process is started with it and started again when it dies."""
    fingerprint: str
    log: str
    start_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be there, and how the traffic is divided, in percent by name."""

    generation: int = 0
    wishes: tuple[Wish, ...] = ()
    traffic: Mapping[str, int] = field(default_factory=dict)
    standby: tuple[str, ...] = ()
    """Deployments without traffic that have proved themselves: asked where none with traffic can be."""

    def next(self, **changes: object) -> "Plan":
        """Return the plan that follows this one."""
        return replace(self, **{"generation": self.generation + 1, **changes})  # type: ignore[arg-type]


class Phase(StrEnum):
    """How a deployment's process is."""

    starting = auto()
    ready = auto()
    restarting = auto()
    """It was ready, died, and is being started again."""
    failed = auto()
    """It never got ready, or died so often that it was given up."""
    draining = auto()
    """It is not wanted any more, and ends with its last answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployment as the gateway sees it."""

    name: str
    fingerprint: str
    phase: Phase
    pid: int
    restarts: int
    why: str
    """Last word of the process when it died last; empty: it never has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is there; `generation` is that of the last plan carried out."""

    generation: int
    port: int
    deployed: tuple[Deployed, ...] = ()

    def of(self, name: str) -> Deployed | None:
        """Return the deployment of that name, None where there is none or it is only draining."""
        there = (item for item in self.deployed if item.name == name and item.phase is not Phase.draining)
        return next(there, None)


def write(value: Plan | Report | GatewaySettings, file: Path) -> None:
    """Put a value in the place of the one before, at once."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.write_text(json.dumps(asdict(value), indent=1) + "\n", encoding="utf-8")
    aside.replace(file)


def read_settings(file: Path) -> GatewaySettings:
    """Read a gateway's settings; raises OSError, ValueError or TypeError."""
    return GatewaySettings(**json.loads(file.read_text(encoding="utf-8")))


def read_plan(folder: Path) -> Plan:
    """Read the plan, an empty one where none was made; raises ValueError, TypeError or KeyError for a strange one."""
    try:
        values = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Plan()
    wishes = tuple(Wish(**wish) for wish in values.pop("wishes"))
    return Plan(**{**values, "wishes": wishes, "standby": tuple(values["standby"])})


def read_report(folder: Path) -> Report | None:
    """Read the report, None where the gateway has made none yet; raises ValueError, TypeError or KeyError."""
    try:
        values = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    deployed = tuple(Deployed(**{**item, "phase": Phase(item["phase"])}) for item in values.pop("deployed"))
    return Report(**{**values, "deployed": deployed})


class PlanFile:
    """Watches a folder's plan."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = (0, 0)

    def changed(self) -> Plan | None:
        """Return the plan when it is another than at the last call; raises like `read_plan`."""
        try:
            found = (self._folder / PLAN_FILE).stat()
        except FileNotFoundError:
            return None
        mark = (found.st_ino, found.st_mtime_ns)
        if mark == self._seen:
            return None
        self._seen = mark  # one that cannot be read is complained of once
        return read_plan(self._folder)
