"""The server process behind an engine: started on a socket that only we can open, watched, ended with us."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from phi_runner.errors import DeployFailed
from phi_runner.serve.upstream import tied

if TYPE_CHECKING:
    import httpx

_LOOK_EVERY_S = 0.05
_PROBE_TIMEOUT_S = 5.0
_LAST_WORDS_S = 2.0
_LINES_KEPT = 200
_SHOWN = 240
"""Characters of the server's own words in our error."""
_REASON = re.compile(r"^[\w.]*(?:Error|Exception|Failed|Problem|Refused): .+", re.MULTILINE)
_CAUSED = "The above exception was the direct cause of the following exception:"
"""Python's words between an error and what came of it."""


class UpstreamServer:
    """One server process; what it prints goes to our own log, line by line.

    It listens on a Unix socket in a folder that only our user can enter: neither server checks a key on all of its
    routes, and a port of this machine would be open to everybody who is logged in.
    """

    def __init__(self, name: str, command: Callable[[Path], Sequence[str]], *, environment: Mapping[str, str]) -> None:
        """Start it; `command` is told the socket to listen on, `environment` is added to ours. Raises DeployFailed."""
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix="phi-runner-"))
        self.socket = self.folder / "socket"
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._closing = False
        own = {"TMPDIR": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder)}  # what it makes goes when it does
        words = [sys.executable, "-m", tied.__name__, str(self.folder), *command(self.socket)]
        try:
            self._child = subprocess.Popen(  # noqa: S603 - the engine's own command
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env={**os.environ, **environment, **own}, start_new_session=True, text=True, encoding="utf-8",
                errors="replace",
            )  # fmt: skip
        except OSError as err:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise DeployFailed(f"cannot start {name}: {err}") from err
        self._reader = threading.Thread(target=self._read, name=f"{name}-log", daemon=True)
        self._reader.start()

    def wait_until_healthy(self, path: str) -> None:
        """Return when `path` answers 200; raises DeployFailed when the server ends before. Others limit the time."""
        import httpx

        while self._child.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if self._listens():
                    self.get(path)
                    self._lines.clear()  # what it complained of before did no harm
                    return
            time.sleep(_LOOK_EVERY_S)
        self._wait()
        raise DeployFailed(f"{self._reason()} before it was ready")

    def _listens(self) -> bool:
        # asked first, for httpx leaves the socket open on which it was refused
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def get(self, path: str) -> "httpx.Response":
        """Return what `path` answers; raises httpx.HTTPError when that is no success."""
        import httpx

        transport = httpx.HTTPTransport(uds=str(self.socket))
        with httpx.Client(transport=transport, base_url="http://upstream", timeout=_PROBE_TIMEOUT_S) as client:
            return client.get(path).raise_for_status()

    def watch(self, when_ended: Callable[[str], None]) -> None:
        """Call `when_ended`, in a thread, with the reason when the server ends without being asked to."""

        def wait() -> None:
            self._wait()
            if not self._closing:
                when_ended(self._reason())

        threading.Thread(target=wait, name=f"{self.name}-watch", daemon=True).start()

    def close(self) -> None:
        """End it: by itself within some seconds, then by force."""
        self._closing = True
        _stdin(self._child).close()
        try:
            self._child.wait(tied.GRACE_S + 1)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
        self._wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        """Return when it has ended and its last words were read."""
        self._child.wait()
        self._reader.join(_LAST_WORDS_S)  # what it may have left behind can hold its output open

    def _read(self) -> None:
        """Pass on what the server prints until it ends."""
        assert self._child.stdout is not None  # noqa: S101 - asked for above
        with self._child.stdout as output:
            for line in output:
                self._lines.append(line.rstrip())
                sys.stderr.write(line)

    def _reason(self) -> str:
        """Say how it ended, with the last line that looks like an error's, and of an error with causes the first."""
        said = "\n".join(line for line in self._lines if line.strip())
        errors = _REASON.findall(said.partition(_CAUSED)[0])
        words = (errors or said.splitlines() or ["it did not say why"])[-1][:_SHOWN]
        return f"{self.name} ended with exit code {self._child.returncode}: {words}"


def _stdin(child: "subprocess.Popen[str]") -> IO[str]:
    assert child.stdin is not None  # noqa: S101 - asked for above
    return child.stdin
