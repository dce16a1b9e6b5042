"""The file in which the processes of a stage tell what happens: they add lines to it, the runner follows it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from phi_runner import errors, task
from phi_runner.errors import PhiRunnerError, TrainFailed
from phi_runner.events import StageEvents


def writer(file: Path) -> Callable[[str], None]:
    """Return a function that adds a line to the file; lines of several processes stay whole."""

    def write(line: str) -> None:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(line)

    return write


def failed(file: Path) -> bool:
    """Say whether a process has told a failure in our own words: starting again would only meet it once more."""
    if not file.is_file():
        return False
    told = (task.parse(line) for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    return any(said.kind is None for said in told if said)


@dataclass(slots=True, kw_only=True)
class Told:
    """What the file has said so far; every event in it becomes one of ours."""

    file: Path
    events: StageEvents
    failure: PhiRunnerError | None = None
    _offset: int = field(default=0, init=False)

    def take(self) -> None:
        """Tell what has come new, whole lines only."""
        if not self.file.is_file():
            return
        with self.file.open("rb") as stream:
            stream.seek(self._offset)
            new = stream.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode("utf-8", errors="replace").splitlines():
            self._hear(line)

    def _hear(self, line: str) -> None:
        said = task.parse(line)
        if said is None:
            return
        if said.kind is not None:
            self.events.events.emit(said.kind, said.message, stage=self.events.stage, **said.values)
        elif self.failure is None:
            self.failure = _error(str(said.values.get("error", "")))(said.message)


def _error(name: str) -> type[PhiRunnerError]:
    """Return the class of a failure by its name."""
    found = getattr(errors, name, TrainFailed)
    return found if isinstance(found, type) and issubclass(found, PhiRunnerError) else TrainFailed
