"""What became of each trial that one command asks for, in small files: trials may run in other processes, elsewhere.

They lie in `<sweep folder>/.asked/<command>/<number>.json` for as long as the command runs.
"""

import json
import os
import shutil
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from phi_runner.config.trial import ENDED_WELL, State

_STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The latest that is known of one trial."""

    number: int
    trial: str
    """Its id; empty where its config could not be read."""
    state: State
    differs: str
    """The overrides that set it apart from the others."""
    told: str = ""
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    def __str__(self) -> str:
        """Name the trial for the person."""
        return f"trial {self.number}" + (f" ({self.differs})" if self.differs else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """The files of one command."""

    folder: Path

    @classmethod
    def begin(cls, sweep: Path) -> "Notices":
        """Make a place in the sweep's folder for a command that begins; raises OSError."""
        folder = sweep.absolute() / ".asked" / f"{time.time_ns()}-{os.getpid()}"
        folder.mkdir(parents=True)
        return cls(folder=folder)

    def leave(self, notice: Notice) -> None:
        """Write a notice in place of the last one of that trial; a reader sees the one or the other."""
        aside = self.folder / f".{notice.number}.{os.getpid()}.tmp"
        with suppress(FileNotFoundError):  # the command that asked has ended: nobody listens any more
            aside.write_text(json.dumps(asdict(notice)), encoding="utf-8")
            aside.replace(self.folder / f"{notice.number}.json")

    def read(self) -> list[Notice]:
        """Return what is known, in the order of the grid."""
        found = [json.loads(file.read_text(encoding="utf-8")) for file in self.folder.glob("*.json")]
        notices = (Notice(**{**values, "state": State(values["state"])}) for values in found)
        return sorted(notices, key=lambda notice: notice.number)

    def met(self, trial: str, *, number: int) -> bool:
        """Say whether this very command has performed the trial already: a grid may name it twice."""
        others = (notice for notice in self.read() if notice.trial == trial and notice.number != number)
        return any(notice.state in ENDED_WELL for notice in others)

    def stop(self) -> None:
        """Let no further trial begin."""
        with suppress(FileNotFoundError):
            (self.folder / _STOP).touch()

    @property
    def stopped(self) -> bool:
        """Whether the command was ended: its folder is marked, or gone."""
        return (self.folder / _STOP).exists() or not self.folder.is_dir()

    def end(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # another command may be under way
            self.folder.parent.rmdir()
