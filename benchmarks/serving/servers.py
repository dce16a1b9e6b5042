"""A server for the length of a measurement: started, waited for, looked at, ended with all that it has started."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.serving.ask import Dialect
from benchmarks.serving.http import BrokenOff, Connection, Request

_QUIET = {
    "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1",
    "PYTHONUNBUFFERED": "1",
}  # fmt: skip
_LOOK_EVERY_S = 0.05
_START_S = 240.0
_GRACE_S = 10.0


class CannotServe(Exception):
    """Why a server is not there, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a server finds what it serves and puts what it writes."""

    model: Path
    folder: Path
    """A folder of its own."""
    venvs: Path
    install_s: float
    """How long an environment may take to be made; 0: what is not there stays away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """A server that answers."""

    url: str
    pid: int
    """Of the process that has started all others of it."""
    start_s: float
    key: str = ""

    def resident_bytes(self) -> int:
        """Return the resident sets of all its processes; pages that two of them share count twice."""
        return sum(member.memory_info().rss for member in family(self.pid))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One way to serve the model."""

    name: str
    about: str
    dialect: Dialect
    up: Callable[[Place], AbstractContextManager[Up]]
    """Serves for the length of the block; raises CannotServe."""
    bandwidth_bound: bool = True
    """One client's tokens read all fp32 weights each."""


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all below it, none where it has ended."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def process(
    command: Sequence[str], *, port: int, ready: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Up]:
    """Serve with a command until the block ends; it is up when a GET of `ready` is answered with 200."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    variables = {**os.environ, **_QUIET, **(environment or {})}
    begun = time.perf_counter()
    with log.open("w", encoding="utf-8") as output:
        child = subprocess.Popen(
            command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        while not asyncio.run(_answers(url, ready)):
            if child.poll() is not None or time.perf_counter() - begun > _START_S:
                raise CannotServe(f"does not start: {_complaint(log)}")
            time.sleep(_LOOK_EVERY_S)
        yield Up(url=url, pid=child.pid, start_s=time.perf_counter() - begun)
    finally:
        _end(child)


async def _answers(url: str, path: str) -> bool:
    try:
        async with asyncio.timeout(10), Connection(url) as connection:
            await connection.send(Request(path=path, method="GET"))
            return (await connection.response()).status == 200
    except (OSError, BrokenOff, TimeoutError):
        return False


def _complaint(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "error:" in line]
    return (named or lines or ["it says nothing"])[-1][:200]


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a process and what it has started: some leave their children alive when they are asked to end themselves."""
    members = family(child.pid)
    for number, grace_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        for member in members:
            try:
                member.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        _, members = psutil.wait_procs(members, timeout=grace_s)
    child.wait()
