"""A job by its number: whether it waits, runs or has ended, asked of Slurm or of this machine."""

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from phi_runner.errors import RemoteFailed

_ANSWER_S = 60.0
_ENDED = "ended"
_LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that was handed over."""

    id: str
    executor: str
    created: float
    """When its process began, for `compute.executor=local`, whose job number is a process id."""

    @property
    def how_to_stop(self) -> str:
        """Return the command that cancels it."""
        return f"kill -INT {self.id}" if self.executor == _LOCAL else f"scancel {self.id}"

    def state(self) -> str:
        """Return what it does in one word, `ended` when it is no more; raises RemoteFailed when Slurm does not say."""
        if self.executor == _LOCAL:
            return "running" if self._lives() else _ENDED
        told = _asked("squeue", "--noheader", f"--jobs={self.id}", "--format=%T", unknown="Invalid job id")
        states = {line.strip().lower() for line in told.splitlines() if line.strip()}
        gone = {"completed", "failed", "cancelled", "timeout", "node_fail", "out_of_memory", "boot_fail", "deadline"}
        return next(iter(sorted(states - gone)), _ENDED)

    def ended(self) -> bool:
        """Say whether it is no more."""
        return self.state() == _ENDED

    def _lives(self) -> bool:
        try:
            process = psutil.Process(int(self.id))
            same = abs(process.create_time() - self.created) < 1.0
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


def read(file: Path) -> Job | None:
    """Return the job that was written down, or None."""
    try:
        return Job(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write(job: Job, *, file: Path) -> None:
    """Write a job down."""
    file.write_text(json.dumps(asdict(job)) + "\n", encoding="utf-8")


def named(name: str) -> list[Job]:
    """Return the jobs of ours that Slurm has under a name, waiting or running; raises RemoteFailed."""
    told = _asked("squeue", "--noheader", "--me", f"--name={name}", "--format=%i")
    return [Job(id=line.strip(), executor="slurm", created=0.0) for line in told.splitlines() if line.strip()]


def cancel(job: Job) -> None:
    """Cancel a job of Slurm; raises RemoteFailed."""
    _asked("scancel", job.id)


def _asked(*command: str, unknown: str = "") -> str:
    """Return what a command of Slurm prints; `unknown` are its words for a job that it has forgotten."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as err:
        raise RemoteFailed(f"{command[0]} does not answer: {err}") from err
    if done.returncode == 0 or (unknown and unknown in done.stderr):
        return done.stdout
    raise RemoteFailed(f"{command[0]} failed: {' '.join(done.stderr.split())[:300]}")
