"""Azurite, Microsoft's own blob emulator, instead of the built-in server: a second opinion where Node is installed.

`python -m phi_runner.azureml.emulator.azurite PROGRAM ARGUMENT...` runs it as the child of a process that ends with
the emulator, whatever ended that one: Node programs do not watch their parent.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from phi_runner import processes
from phi_runner.azureml.emulator import tls
from phi_runner.azureml.emulator.settings import STORAGE_ACCOUNT, Settings
from phi_runner.errors import PhiRunnerError

if TYPE_CHECKING:
    import trustme

_READY_S = 60.0
_LOOK_AGAIN_S = 0.1
_PROGRAMS = ("azurite-blob", "azurite")


class AzuriteMissing(PhiRunnerError):
    """Azurite was asked for and is not there, or does not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Azurite:
    """A running Azurite."""

    pid: int
    port: int


def program() -> str | None:
    """Return the Azurite program on PATH, None when there is none."""
    return next((found for name in _PROGRAMS if (found := shutil.which(name))), None)


def start(settings: Settings, *, ca: "trustme.CA", key: str) -> Azurite:
    """Start Azurite for one account and wait until it listens; raises AzuriteMissing."""
    found = program()
    if not found:
        raise AzuriteMissing("azurite is not on PATH: npm install -g azurite, or use azure.blobs=builtin")
    folder = settings.folder / "azurite"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    chain, chain_key = tls.write_certificate(ca, "127.0.0.1", "*.blob.core.windows.net", folder=folder)
    port = _free_port()
    host = ["--host", "127.0.0.1"] if found.endswith("azurite") else []
    child = processes.start(
        "phi_runner.azureml.emulator.azurite",
        [found, *host, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent",
         "--skipApiVersionCheck", "--disableTelemetry", "--cert", str(chain), "--key", str(chain_key),
         "--oauth", "basic"],
        log=settings.folder / "azurite.log", detach=False, environment={"AZURITE_ACCOUNTS": f"{STORAGE_ACCOUNT}:{key}"},
    )  # fmt: skip
    until = time.monotonic() + _READY_S
    while child.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return Azurite(pid=child.pid, port=port)
        time.sleep(_LOOK_AGAIN_S)
    processes.stop(child.pid)
    raise AzuriteMissing(f"{found} did not start: see {settings.folder / 'azurite.log'}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def main() -> int:
    """Run the program given as arguments until it ends or we are told to."""
    child = subprocess.Popen(sys.argv[1:])  # noqa: S603 - what `start` found on PATH

    def end(_number: int, _frame: object) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]:
                process.terminate()

    signal.signal(signal.SIGTERM, end)
    processes.stop_with_parent()
    return child.wait()


if __name__ == "__main__":
    os.environ.setdefault("NODE_NO_WARNINGS", "1")
    sys.exit(main())
