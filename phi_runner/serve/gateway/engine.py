"""One deployment's process: started, watched, started again when it dies, given up when that does not help, ended."""

import asyncio
import contextlib
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from phi_runner import processes
from phi_runner.serve import settings as settings_file
from phi_runner.serve.gateway.steering import Deployed, Phase, Wish

HOST = "127.0.0.1"
"""Engines answer the gateway alone."""
QUICK_S = 20.0
"""A process that dies sooner than this after it got ready has died quickly."""
MOST_QUICK_DEATHS = 5
"""So many in a row, and the process is not started again."""
_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Before it is started again, by the number of quick deaths in a row."""
_LOOK_EVERY_S = 0.03
_PROBE_TIMEOUT_S = 5.0
_GRACE_S = 10.0
_LONGEST_WORD = 300
log = logging.getLogger("phi_runner.gateway")


class Engine:
    """A deployment's process through all its lives; `tell` is called when anything about it has changed."""

    def __init__(self, wish: Wish, *, module: str, tell: Callable[[], None]) -> None:
        self.wish = wish
        self.settings = settings_file.read(Path(wish.settings))
        self.phase = Phase.starting
        self.restarts = 0
        self.open = 0
        """Requests that it is answering."""
        self.idle = asyncio.Event()
        """Set while it answers nothing."""
        self.idle.set()
        self.url = ""
        """Where it answers now."""
        self._why = ""
        self._module = module
        self._tell = tell
        self._child: subprocess.Popen[bytes] | None = None
        self._task = asyncio.create_task(self._live())

    @property
    def name(self) -> str:
        """Name of the deployment."""
        return self.wish.name

    @property
    def ready(self) -> bool:
        """Say whether it can be asked."""
        return self.phase is Phase.ready

    @property
    def hopeless(self) -> bool:
        """Say whether it never will be."""
        return self.phase in {Phase.failed, Phase.draining}

    def deployed(self) -> Deployed:
        """Return how it is."""
        return Deployed(
            name=self.name, fingerprint=self.wish.fingerprint, phase=self.phase, restarts=self.restarts, why=self._why,
            pid=self._child.pid if self._child else 0,
        )  # fmt: skip

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request while it is being answered."""
        self.open += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.open -= 1
            if not self.open:
                self.idle.set()

    def drain(self) -> None:
        """Take note that nothing new is asked of it: should it die now, it stays dead."""
        self._to(Phase.draining)

    async def end(self) -> None:
        """End the process, whatever it is doing."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._child:
            await asyncio.to_thread(processes.stop, self._child.pid, grace_s=_GRACE_S)

    def _to(self, phase: Phase, why: str = "") -> None:
        self.phase, self._why = phase, why or self._why
        self._tell()

    async def _live(self) -> None:
        """Keep the process running until it is given up."""
        deaths = 0
        while True:
            why, served_s = await self._one_life()
            if self.phase is Phase.draining:
                return
            if self.phase is Phase.starting:
                self._give_up(why)
                return
            deaths = deaths + 1 if served_s < QUICK_S else 1
            if deaths > MOST_QUICK_DEATHS:
                self._give_up(f"it died {deaths} times in a row: {why}")
                return
            self.restarts += 1
            log.error("deployment %s died and is started again, the %d. time: %s", self.name, self.restarts, why)
            self._to(Phase.restarting, why)
            await asyncio.sleep(_PAUSES_S[deaths - 1])

    async def _one_life(self) -> tuple[str, float]:
        """Start the process and wait for its end; return the reason, and how long it was ready."""
        file = Path(self.wish.log)
        written = file.stat().st_size if file.exists() else 0
        Path(self.settings.announce).unlink(missing_ok=True)
        arguments = ["--settings", self.wish.settings]
        child = self._child = processes.start(self._module, arguments, log=file, detach=False)
        begun, served_s = time.monotonic(), 0.0
        if await self._comes_up(child, until=begun + self.wish.start_timeout_s):
            log.info("deployment %s is ready after %.1f s (pid %d)", self.name, time.monotonic() - begun, child.pid)
            begun = time.monotonic()
            self._to(Phase.ready)
            await asyncio.to_thread(child.wait)
            served_s = time.monotonic() - begun
        code = child.poll()
        if code is None:
            await asyncio.to_thread(processes.stop, child.pid, grace_s=0.0)
            return f"not ready after deploy.start_timeout_s={self.wish.start_timeout_s:g}", 0.0
        processes.forget(child.pid)
        return _last_line(file, since=written) or f"exit code {code}", served_s

    async def _comes_up(self, child: subprocess.Popen[bytes], *, until: float) -> bool:
        """Say whether the process got ready; it may have ended, or taken too long."""
        while time.monotonic() < until and child.poll() is None:
            port = settings_file.announced(Path(self.settings.announce))
            self.url = f"http://{HOST}:{port}"
            if port and await _is_ready(port):
                return True
            await asyncio.sleep(_LOOK_EVERY_S)
        return False

    def _give_up(self, why: str) -> None:
        log.error("deployment %s is given up: %s", self.name, why)
        self._to(Phase.failed, why)


async def _is_ready(port: int) -> bool:
    """Ask for `/health/ready` with the bare means: this runs while the HTTP libraries are still being imported."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(HOST, port)
            with contextlib.closing(writer):
                writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
    except (OSError, TimeoutError):
        return False


def _last_line(file: Path, *, since: int) -> str:
    """Return the last line that a process has written, from a place in its log on."""
    with file.open("rb") as stream:
        stream.seek(since)
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "")
    return last.removeprefix("error: ")[:_LONGEST_WORD]
