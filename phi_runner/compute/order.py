"""A stage written down for the processes that will perform it, and the result that they leave."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from phi_runner import artifacts, task
from phi_runner.artifacts import ARTIFACT_FILE, Artifact
from phi_runner.compute.place import Place
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import TrainFailed
from phi_runner.task import Task

_Kind = TypeVar("_Kind", bound=Artifact)
_LAST_LINES = 3
_MOST_CHARACTERS = 500
_WHO = re.compile(r"^\[rank\d+\]:\s?")
_ECHO = "Connection closed by peer"
"""What the others say when one is lost."""
_AN_ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A stage to perform, with everything that a worker has to know."""

    task: Path
    told: Path
    log: Path
    folder: Path
    outputs: Path

    def words(self) -> list[str]:
        """Return the arguments of `python -m phi_runner.worker`."""
        named = {"task": self.task, "told": self.told, "folder": self.folder, "outputs": self.outputs}
        return [word for name, path in named.items() for word in (f"--{name}", str(path))]

    def begin_anew(self) -> None:
        """Remove what an earlier try has told and left, all but its checkpoints."""
        for file in (self.told, self.log, self.folder / ARTIFACT_FILE):
            file.unlink(missing_ok=True)

    def result(self, kind: type[_Kind]) -> _Kind | None:
        """Return what the workers have made; None where they were not done."""
        try:
            return artifacts.load(kind, folder=self.folder)
        except (OSError, ValueError, TypeError):
            return None

    def last_words(self) -> str:
        """Return the last lines of the processes' log, in one."""
        if not self.log.is_file():
            return ""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        plain = (_WHO.sub("", line) for line in text.splitlines())
        lines = [" ".join(line.split()) for line in plain if line.strip()]
        errors = [line for line in lines if _AN_ERROR.match(line)]
        errors = [line for line in errors if _ECHO not in line] or errors or lines
        return " | ".join(dict.fromkeys(errors[-_LAST_LINES:]))[-_MOST_CHARACTERS:]


def write(stage: StageName, config: RunConfig, inputs: dict[StageName, Artifact], *, rundir: Place) -> Order:
    """Write a stage down in its scratch folder."""
    known = {name: task.fields_of(read) | {"folder": str(read.folder)} for name, read in inputs.items()}
    rundir.scratch.mkdir(parents=True, exist_ok=True)
    told = Task(stage=stage, key=rundir.key, config=config, inputs=known)
    return Order(
        task=task.write(told, file=rundir.scratch / "task.yaml"), told=rundir.scratch / "told.log",
        log=rundir.scratch / "processes.log", folder=rundir.folder, outputs=rundir.outputs,
    )  # fmt: skip


def lost(order: Order, *, what: str) -> TrainFailed:
    """Return the error of processes that have ended without a result and without a word of ours."""
    return TrainFailed(f"{what}: {order.last_words() or 'they said nothing'} (all of it: {order.log})")
