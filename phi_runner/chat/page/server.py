"""Start the chat page in a process of its own, tied to the run, and wait until it can be opened."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from phi_runner import processes
from phi_runner.chat.page.settings import Settings
from phi_runner.errors import ConfigProblem, DeployFailed
from phi_runner.processes import Running
from phi_runner.serve.settings import EXIT_PORT_IN_USE, announced

if TYPE_CHECKING:
    import subprocess

KIND = "page"
START_TIMEOUT_S = 90.0
_LOOK_EVERY_S = 0.05


def key_variable() -> str:
    """Return a name for the environment variable in which the page gets a key that lies in no file."""
    return f"PHI_RUNNER_KEY_{secrets.token_hex(4).upper()}"


def start(settings: Settings, *, name: str, outputs: Path, keys: Mapping[str, str]) -> Running:
    """Return the page when it can be opened; `keys` are environment variables for it alone.

    Raises ConfigProblem where its library is missing, DeployFailed when it does not come up.
    """
    if find_spec("nicegui") is None:
        raise ConfigProblem(
            "chat.ui=page needs nicegui, not installed: type pip install 'phi-runner[chat]', or chat.ui=terminal"
        )
    log, state = outputs / "logs" / f"page-{name}.log", outputs / "page"
    state.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".starting-", dir=state) as told:
        announce, file = Path(told, "port.json"), Path(told, "settings.json")
        replace(settings, announce=str(announce), state=str(state)).save(file)
        child = processes.start(
            "phi_runner.chat.page", ["--settings", str(file)], log=log, detach=False, environment=keys
        )
        try:
            url = _wait(child, settings=settings, announce=announce, log=log)
            running = Running(
                name=f"{name}-{child.pid}", kind=KIND, pid=child.pid, created=processes.created(child.pid), url=url,
                log=str(log), detached=False,
            )  # fmt: skip
            processes.write_down(running, outputs=outputs)
        except BaseException:
            processes.stop(child.pid)
            raise
    return running


def _wait(child: "subprocess.Popen[bytes]", *, settings: Settings, announce: Path, log: Path) -> str:
    """Return the URL once the page answers there; raises DeployFailed when its process ends or takes too long."""
    import httpx

    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if child.poll() is not None:
            raise _ended(child.returncode, settings=settings, log=log)
        if port := announced(announce):
            url = processes.url_of(settings.host, port)
            try:
                if httpx.get(f"{url}/health", trust_env=False, timeout=5.0).is_success:
                    return url
            except httpx.TransportError:
                pass
        time.sleep(_LOOK_EVERY_S)
    raise DeployFailed(f"the chat page was not ready after {START_TIMEOUT_S:.0f} s: see {log}")


def _ended(code: int, *, settings: Settings, log: Path) -> DeployFailed:
    if code == EXIT_PORT_IN_USE:
        return DeployFailed(
            f"chat.port={settings.port} is already in use on {settings.host}: type chat.port=0 for any free port, "
            "or stop the program that listens there"
        )
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = lines[-1].removeprefix("error: ") if lines else f"exit code {code}"
    return DeployFailed(f"the chat page ended while it started: {last} (log: {log})")
