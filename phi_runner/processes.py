"""Server processes that a run starts: tied to the run's life unless detached, and written down while they live.

A tied child holds the read end of a pipe whose write end only the runner has. When the runner goes, however it goes
(SIGKILL too), the pipe closes and `tether` ends the child. Nothing polls, no process is left behind.
"""

import atexit
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import psutil

from phi_runner import locks
from phi_runner.tether import LET_GO, WATCHED_FD, stop_with_parent

__all__ = ["stop_with_parent"]
_TERMINATED = 128 + signal.SIGTERM
_PR_SET_PDEATHSIG = 1
_children: dict[int, subprocess.Popen[bytes]] = {}
_pipes: dict[int, int] = {}
"""Write ends of the pipes of tied children, by pid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server process: enough to find it again and to be sure that it is still the same one."""

    name: str
    kind: str
    """`endpoint` or `flow`."""
    pid: int
    created: float
    """Creation time of the process in seconds since the epoch; pids are used again, pairs of the two are not."""
    url: str
    log: str
    detached: bool
    folder: str = ""
    """Where it keeps what it is steered by; empty: nothing."""

    def alive(self) -> bool:
        """Say whether exactly this process still runs."""
        try:
            process = psutil.Process(self.pid)
            return bool(process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.created) < 1.0)
        except psutil.NoSuchProcess:
            return False


def start(
    module: str, arguments: Sequence[str], *, log: Path, detach: bool, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m module arguments` in a session of its own with its output in `log`; raises OSError."""
    return start_command(
        [sys.executable, "-m", module, *arguments], log=log, detach=detach, environment=environment or {}
    )


def start_command(
    command: Sequence[str], *, log: Path, detach: bool, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own with its output in `log`, for `tether` to watch; raises OSError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, **environment}
    variables.pop(WATCHED_FD, None)
    pass_fds: tuple[int, ...] = ()
    read_end = write_end = -1
    if not detach:
        read_end, write_end = os.pipe()  # the write end stays open for as long as we live: our death closes it
        variables[WATCHED_FD] = str(read_end)
        pass_fds = (read_end,)
    try:
        with log.open("ab") as output:
            child = subprocess.Popen(  # noqa: S603 - our own choice of interpreter and script
                [*command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=variables, pass_fds=pass_fds, start_new_session=True,
            )  # fmt: skip
    except OSError:
        if write_end >= 0:
            os.close(write_end)
        raise
    finally:
        if read_end >= 0:
            os.close(read_end)
    _children[child.pid] = child
    if write_end >= 0:
        _pipes[child.pid] = write_end
    return child


def is_ours(pid: int) -> bool:
    """Say whether this process has started that one."""
    return pid in _children


def let_go(pid: int) -> None:
    """Let a tied child outlive us: started tied and let go when it is written down, no kill can leave a stray one."""
    write_end = _pipes.pop(pid)
    os.write(write_end, LET_GO)
    os.close(write_end)


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """End at once on SIGTERM during a block, as a node that is taken away asks; exit handlers still run."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def die_with_parent() -> None:
    """Let Linux kill this process when the one that started it dies, however that dies; elsewhere a no-op."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we had asked
            os.kill(os.getpid(), signal.SIGKILL)


_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound


def url_of(host: str, port: int) -> str:
    """Return where this machine reaches a server that listens on `host`, which may be every address."""
    address = _EVERYWHERE.get(host, host)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def created(pid: int) -> float:
    """Return when the process was created, in seconds since the epoch; raises psutil.NoSuchProcess."""
    return float(psutil.Process(pid).create_time())


def stop(pid: int, *, grace_s: float = 10.0, leader_first: bool = False) -> None:
    """End the process and its children: SIGTERM, then SIGKILL for what is left after `grace_s` seconds.

    `leader_first` leaves the children alone for as long: a server that drains may need them to answer.
    """
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    if leader_first and family:
        with contextlib.suppress(psutil.NoSuchProcess):
            leader.terminate()
        psutil.wait_procs([leader], timeout=grace_s)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _gone, left = psutil.wait_procs(family, timeout=grace_s)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=grace_s)
    forget(pid)


def forget(pid: int) -> None:
    """Take note that a child of ours has ended: Python warns of one that nobody waited for."""
    if child := _children.pop(pid, None):
        child.poll()
    if write_end := _pipes.pop(pid, 0):
        os.close(write_end)


@atexit.register
def _part() -> None:
    """Keep Python from warning at exit of children that outlive us on purpose, or that end because we do."""
    for child in _children.values():
        if child.poll() is None:
            child.returncode = 0


def _folder(outputs: Path) -> Path:
    return outputs / "running"


def _record_of(running: Running, *, outputs: Path) -> Path:
    return _folder(outputs) / f"{running.kind}-{running.name}.json"


def _read(file: Path) -> Running | None:
    """Return what a record holds, or None where it is gone or is no record."""
    try:
        return Running(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _unlink(file: Path, running: Running) -> None:
    """Remove the record of a server that has ended, unless another run has written its own there meanwhile."""
    if _read(file) == running:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def name_lock(kind: str, name: str, *, outputs: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a server's name from looking for it to writing it down: of two runs one starts it, the other finds it.

    `on_wait` is called once when another process holds it. Raises OSError.
    """
    with locks.held(_folder(outputs) / f".{kind}-{name}.lock", on_wait=on_wait):
        yield


def write_down(running: Running, *, outputs: Path) -> None:
    """Record a running server, so that `teardown` and later runs find it."""
    target = _record_of(running, outputs=outputs)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(json.dumps(asdict(running), indent=2) + "\n", encoding="utf-8")
    aside.replace(target)


def find(kind: str, name: str, *, outputs: Path) -> Running | None:
    """Return the recorded server of that name if it still runs."""
    return next((item for item in listed(outputs=outputs) if (item.kind, item.name) == (kind, name)), None)


def seen(*, outputs: Path) -> list[Running]:
    """Return every recorded server that still runs, and leave the records as they are."""
    found = (_read(file) for file in sorted(_folder(outputs).glob("*.json")))
    return [running for running in found if running and running.alive()]


def listed(*, outputs: Path) -> list[Running]:
    """Return every recorded server that still runs; records of dead ones are removed."""
    found = []
    for file in sorted(_folder(outputs).glob("*.json")):
        running = _read(file)
        if running is None:
            continue
        if running.alive():
            found.append(running)
        else:
            _unlink(file, running)
    return found


def stop_recorded(running: Running, *, outputs: Path) -> None:
    """End a recorded server and forget it."""
    if running.alive():
        stop(running.pid)
    _unlink(_record_of(running, outputs=outputs), running)
