"""What a process elsewhere is told: a stage, its key, the resolved config and what the stage reads, as plain YAML.

Also the line protocol in which it answers: a node of Azure in its log, a worker of torchrun or Slurm in a file.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from phi_runner.artifacts import Artifact
from phi_runner.config.load import load
from phi_runner.config.schema import SCHEMAS, RunConfig, StageName
from phi_runner.events import Event, Kind, Sink, Value

_MARK = "##phi_runner "
"""Begins a line that is an event; every other line is some library's own."""
_FAILED = "failed"
_PROGRESS_S = 1.0

SUMMARY, RESULT, MODEL_OUTPUT, CHECKPOINTS = "summary", "result", "model_output", "checkpoints"
"""Named outputs of a job: small files; weights; the model in MLflow's form; what survives a lost node."""
REQUIREMENTS_FILE = "model_requirements.txt"
"""What a job's `model_output` asks for, copied into its summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One stage to perform on a node."""

    stage: StageName
    key: str
    config: RunConfig
    inputs: dict[StageName, dict[str, Any]] = field(default_factory=dict)
    """Fields of the results that the stage reads, less their folders."""


def fields_of(artifact: Artifact) -> dict[str, Any]:
    """Return an artifact's fields less its folder."""
    return {name: value for name, value in asdict(artifact).items() if name != "folder"}


def write(task: Task, *, file: Path) -> Path:
    """Write a task and return its file; it holds no secret, as the config holds none."""
    kinds = {group: getattr(task.config, group).kind for group in SCHEMAS}
    values = {
        "stage": str(task.stage), "key": task.key, "kinds": kinds, "config": asdict(task.config),
        "inputs": {str(stage): values for stage, values in task.inputs.items()},
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(OmegaConf.to_yaml(OmegaConf.create(values)), encoding="utf-8")
    return file


def read(file: Path, *, overrides: Iterable[str] = ()) -> Task:
    """Read back what `write` wrote, with a trial's `key=value` overrides; raises ConfigProblem."""
    values: Any = OmegaConf.load(file)
    node: Any = OmegaConf.structured(RunConfig)
    for group, kind in values["kinds"].items():
        node[group] = OmegaConf.structured(SCHEMAS[group][kind])
    merged: Any = OmegaConf.merge(node, values["config"], OmegaConf.from_dotlist(list(overrides)))
    told: Any = OmegaConf.to_object(values["inputs"])
    return Task(
        stage=StageName(values["stage"]), key=values["key"], config=load(merged),
        inputs={StageName(stage): known for stage, known in told.items()},
    )  # fmt: skip


def event_line(event: Event) -> str:
    """Return an event as a line of a job's log."""
    return _MARK + json.dumps({"kind": str(event.kind), "message": event.message, "values": event.values})


def failure_line(message: str, *, error: str = "") -> str:
    """Return a failure in our own words, with the name of its class, as a line of a job's log."""
    return _MARK + json.dumps({"kind": _FAILED, "message": message, "values": {"error": error} if error else {}})


def teller(write: Callable[[str], None], *, every_s: float = _PROGRESS_S) -> Sink:
    """Return a sink that writes events as lines; progress at most once in `every_s` seconds, its end always."""
    last = 0.0

    def say(event: Event) -> None:
        nonlocal last
        if event.kind is Kind.progress:
            ended = event.values.get("done") == event.values.get("total")
            if event.at - last < every_s and not ended:
                return
            last = event.at
        write(event_line(event) + "\n")

    return say


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a line of a job's log says: an event's kind (None: a failure), its words and values."""

    kind: Kind | None
    message: str
    values: Mapping[str, Value]


def parse(line: str) -> Said | None:
    """Read a line of a job's log; None when it is not one of ours."""
    _before, mark, text = line.partition(_MARK)
    if not mark:
        return None
    try:
        told = json.loads(text)
        kind = None if told["kind"] == _FAILED else Kind(told["kind"])
        return Said(kind=kind, message=str(told["message"]), values=dict(told["values"]))
    except (ValueError, TypeError, KeyError):
        return None  # two processes wrote at once, or the line was cut
