"""Read a run folder, whole or half-written: what is missing or damaged is empty here, and named."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from phi_runner.config.earlier_runs import RECORD

CONFIG_FILE = "config.yaml"
VERSIONS_FILE = "versions.json"
REPORT_FILE = "report.html"
_ENDED = ("done", "failed", "interrupted", "pruned")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """How a stage went, as `run.json` tells it."""

    name: str
    status: str = ""
    why: str = ""
    key: str = ""
    result: str = ""
    seconds: float = 0.0
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """A run as its folder tells it; every part may be empty."""

    folder: Path
    record: dict[str, Any]
    config: dict[str, Any]
    versions: dict[str, Any]
    stages: tuple[StageView, ...]
    problems: tuple[str, ...] = ()
    """What could not be read, one line each."""
    _read: dict[Path, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the folder's own name; a trial's with its sweep before it."""
        above = self.folder.parent
        return f"{above.name}/{self.folder.name}" if above.parent.name == "sweeps" else self.folder.name

    @property
    def status(self) -> str:
        """Return how the run ended; one that says nothing of its end is half-written."""
        return text(self.record, "status") or "half-written"

    @property
    def ended(self) -> bool:
        """Say whether the run came to an end that it could write down."""
        return self.status in _ENDED

    def stage(self, name: str) -> StageView | None:
        """Return a stage of this run, or None where it was not selected."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def result(self, stage: str) -> Path | None:
        """Return the folder with a stage's result, if it is still there."""
        told = self.stage(stage)
        places = [self.folder / "results" / stage, *([Path(told.result)] if told and told.result else [])]
        return next((place for place in places if place.is_dir()), None)

    def json(self, file: Path | str) -> Any:
        """Return what a JSON file holds, by its path in the run folder; None where there is none or it is damaged."""
        place = self.folder / file
        if place not in self._read:
            self._read[place] = read_json(place)
        return self._read[place]

    def of_stage(self, stage: str, file: str) -> Any:
        """Return what a JSON file of a stage's result holds, or None."""
        folder = self.result(stage)
        return self.json(folder / file) if folder else None

    def artifact(self, stage: str) -> dict[str, Any]:
        """Return the fields of a stage's result; from `versions.json` where the store has lost it."""
        kept = table(table(table(self.versions.get("stages")).get(stage)).get("result"))
        return table(self.of_stage(stage, "artifact.json")) or kept


def read_json(file: Path) -> Any:
    """Return what a JSON file holds, or None."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_lines(file: Path | None, *, most: int) -> list[dict[str, Any]]:
    """Return the first objects of a JSON Lines file; lines that are none are passed over."""
    return list(_objects(file, most=most)) if file and file.is_file() else []


def _objects(file: Path, *, most: int) -> Iterator[dict[str, Any]]:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            for _number, line in zip(range(most), stream, strict=False):
                try:
                    value = json.loads(line)
                except ValueError:
                    continue
                if isinstance(value, dict):
                    yield value
    except OSError:
        return


def table(value: object) -> dict[str, Any]:
    """Return a JSON object, or an empty one in place of anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def rows(value: object) -> list[dict[str, Any]]:
    """Return the objects of a JSON list; anything else in it is passed over."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(values: dict[str, Any], name: str) -> str:
    """Return a text of a JSON object, or nothing."""
    value = values.get(name)
    return value if isinstance(value, str) else ""


def number(values: dict[str, Any], name: str) -> float | None:
    """Return a number of a JSON object, or None."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read(folder: Path) -> RunFolder:
    """Return what a run folder tells; never raises for what is missing, damaged or of another version."""
    folder = folder.absolute()  # what is joined to it below may be absolute already
    record, versions = table(read_json(folder / RECORD)), table(read_json(folder / VERSIONS_FILE))
    config = _config(folder)
    named = [(RECORD, record), (CONFIG_FILE, config), (VERSIONS_FILE, versions)]
    return RunFolder(
        folder=folder, record=record, config=config, versions=versions,
        stages=tuple(_stage(item) for item in rows(record.get("stages"))),
        problems=tuple(_problem(folder / name) for name, found in named if not found),
    )  # fmt: skip


def _problem(file: Path) -> str:
    return f"{file.name} is {'damaged' if file.is_file() else 'missing'}"


def _config(folder: Path) -> dict[str, Any]:
    import yaml

    try:
        return table(yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _stage(values: dict[str, Any]) -> StageView:
    names = ("name", "status", "why", "key", "result", "summary")
    return StageView(**{name: text(values, name) for name in names}, seconds=number(values, "seconds") or 0.0)
