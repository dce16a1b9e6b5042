"""The trials of a sweep's folder as they lie there: who each is, how it ended, and what it measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi_runner.config.trial import Plain, State
from phi_runner.sweep.attempt import RUN_FILE, TRIAL_FILE
from phi_runner.sweep.pruning import curve

UNREADABLE = "not finished"
"""Status of a trial whose files are missing or half written."""
_CARD = Path("results/evaluate/card.json")
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial."""

    id: str
    folder: Path
    status: str
    number: int = 0
    """Its place among the trials of the command that ran it last."""
    values: dict[str, Plain] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    tries: int = 0
    seconds: float = 0.0
    started_at: float = 0.0
    error: str = ""
    recipe: str = ""
    reused: tuple[str, ...] = ()
    """Stages whose results were taken from the store."""
    curve: tuple[tuple[int, float], ...] = ()
    """Held-out losses while it trained, by the share of the training in percent."""
    card: dict[str, Any] = field(default_factory=dict)
    """The before/after card, where there is one."""

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.status == State.done


def read(folder: Path) -> dict[str, Trial]:
    """Return every trial of a sweep's folder by its id."""
    places = sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))
    return {place.name: trial(place) for place in places if _is_trial(place)}


def _is_trial(place: Path) -> bool:
    return (place / TRIAL_FILE).exists() or (place / RUN_FILE).exists()


def trial(folder: Path) -> Trial:
    """Return one trial; what cannot be read is left at its default."""
    told, run = _read(folder / TRIAL_FILE), _read(folder / RUN_FILE)
    stages = [item for item in run.get("stages") or () if isinstance(item, dict)]
    error = str(told.get("error") or run.get("error") or "")
    return Trial(
        id=folder.name, folder=folder, status=str(told.get("status") or run.get("status") or UNREADABLE),
        number=int(told.get("number") or 0), values=dict(told.get("values") or {}),
        overrides=tuple(map(str, told.get("overrides") or run.get("overrides") or ())),
        metrics=dict(run.get("values") or {}), tries=int(told.get("tries") or 0),
        seconds=float(told.get("seconds") or run.get("seconds") or 0.0),
        started_at=float(told.get("started_at") or run.get("started_at") or 0.0), error=error,
        recipe=str(run.get("recipe") or ""),
        reused=tuple(str(item["name"]) for item in stages if item.get("status") == "reused"),
        curve=tuple(curve(folder)), card=_read(folder / _CARD),
    )  # fmt: skip


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def spelled(value: Plain) -> str:
    """Return a swept value as a person reads it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return str(value)


def in_words(values: Mapping[str, Plain]) -> str:
    """Return swept values as overrides, short enough for a line."""
    return " ".join(f"{key}={spelled(value)}" for key, value in list(values.items())[:_SHOWN])
