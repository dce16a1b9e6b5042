"""Run a command in a process of its own: each line with the time it came, and the most memory its processes held."""

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_SAMPLE_S = 0.1


@dataclass(frozen=True, slots=True)
class Line:
    """A line of output or of the error stream, and when it came, in seconds since the command was started."""

    at_s: float
    text: str


@dataclass(slots=True, kw_only=True)
class Watched:
    """What is known of a command that has ended."""

    lines: list[Line] = field(default_factory=list)
    started_at: float = 0.0
    """Seconds since the epoch."""
    seconds: float = 0.0
    code: int = 0
    stopped: bool = False
    """The time limit was reached; what was measured until then counts."""
    peak_bytes: int = 0
    """Largest sum of the resident sets of all its processes; pages that two of them share count twice."""
    peak_gpu_bytes: int = 0

    def complaint(self) -> str:
        """Return the line that best says why the command failed: the last one that names an error."""
        said = [line.text.strip() for line in self.lines if line.text.strip()]
        # a launcher's own error only says that what it has started failed
        named = [text for text in said if ("Error" in text or "error:" in text) and "CalledProcess" not in text]
        return (named or said or [f"exit code {self.code}"])[-1][:200]


def run(command: list[str], *, folder: Path, limit_s: float, environment: dict[str, str], gpu: bool = False) -> Watched:
    """Run `command` in `folder`; ask it and all its children to end when `limit_s` is over."""
    watched = Watched(started_at=time.time())
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    reader = threading.Thread(target=_read, args=(process, watched, begun, folder / "output.log"), daemon=True)
    reader.start()
    while process.poll() is None:
        watched.peak_bytes = max(watched.peak_bytes, _resident(process.pid))
        if gpu:
            watched.peak_gpu_bytes = max(watched.peak_gpu_bytes, _on_gpu())
        if not watched.stopped and time.perf_counter() - begun > limit_s:
            watched.stopped = True
            _end(process)
        time.sleep(_SAMPLE_S)
    watched.seconds, watched.code = time.perf_counter() - begun, process.returncode
    reader.join(timeout=5)
    return watched


def _read(process: "subprocess.Popen[str]", watched: Watched, begun: float, log: Path) -> None:
    assert process.stdout
    with process.stdout as lines, log.open("w", encoding="utf-8", buffering=1) as kept:
        for text in lines:
            watched.lines.append(Line(time.perf_counter() - begun, text.rstrip("\n")))
            kept.write(text)


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(pid: int) -> int:
    total = 0
    for member in _family(pid):
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _on_gpu() -> int:
    """Return the bytes in use on the first GPU, all processes together."""
    ask = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    found = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    return int(found) << 20 if found.isdigit() else 0


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill the command and what it started: nothing of it is needed, and a polite one would save a checkpoint first."""
    for member in reversed(_family(process.pid)):
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
