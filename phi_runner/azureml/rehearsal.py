"""A run's own Azure: start the emulator on loopback, point this process at it, and stop it at the end."""

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from phi_runner import locks, processes
from phi_runner.azureml.emulator.settings import client_environment
from phi_runner.config.schema import RehearsalAzure
from phi_runner.errors import RemoteFailed

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_LOOK_EVERY_S = 0.05
_ONE_WAY_IN = {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}
"""Keeps azure-identity from looking for a managed identity or a signed-in tool of this machine."""


def folder_of(config: RehearsalAzure, *, outputs: Path) -> Path:
    """Return where the emulated cloud keeps its state and its secrets; never inside `outputs`, which may be shared."""
    if config.folder:
        return Path(config.folder).expanduser().resolve()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = hashlib.sha256(str(outputs).encode()).hexdigest()[:12]
    return Path(state).expanduser() / "phi_runner" / "rehearsal" / name


def wire_log(outputs: Path) -> Path:
    """Return the file in which every request is written down, without its secrets."""
    return outputs / "rehearsal" / "wire.jsonl"


@contextmanager
def rehearsing(config: RehearsalAzure, *, outputs: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Run the emulator during a block; Azure's clients of this process and of its children reach it and nothing else.

    Runs that share an emulated cloud take turns. Raises RemoteFailed when it does not start.
    """
    folder = folder_of(config, outputs=outputs)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / ".run.lock").touch()
    except OSError as err:
        raise RemoteFailed(
            f"{folder} cannot hold the emulated cloud ({err.strerror}): type azure.folder=FOLDER"
        ) from err

    def waits() -> None:
        say("another run rehearses in this cloud: waiting for its end")

    with locks.held(folder / ".run.lock", on_wait=waits):
        _end_earlier(folder / "emulator.json")
        pid = _start(config, folder=folder, outputs=outputs)
        before = dict(os.environ)
        try:
            os.environ |= client_environment(folder / "emulator.json", folder=folder)
            os.environ |= _ONE_WAY_IN
            say(f"rehearses Azure on this machine; its state is in {folder}, its requests in {wire_log(outputs)}")
            yield
        finally:
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)
            _end(pid)


def _start(config: RehearsalAzure, *, folder: Path, outputs: Path) -> int:
    """Start the emulator, tied to this process, and return its process id once it listens."""
    announce, log = folder / "emulator.json", outputs / "logs" / "rehearsal.log"
    announce.unlink(missing_ok=True)
    wire_log(outputs).parent.mkdir(parents=True, exist_ok=True)
    child = processes.start(
        "phi_runner.azureml.emulator",
        [
            "--folder", str(folder), "--announce", str(announce), "--wire-log", str(wire_log(outputs)),
            "--operation-s", f"{config.operation_s:g}", "--blobs", config.blobs,
        ],
        log=log, detach=False,
    )  # fmt: skip
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not announce.is_file():
        if child.poll() is not None:
            raise RemoteFailed(f"azure=rehearsal: the emulator ended at its start: {_last_word(log)} (log: {log})")
        if time.monotonic() > deadline:
            processes.stop(child.pid)
            raise RemoteFailed(
                f"azure=rehearsal: the emulator was not ready within {_START_TIMEOUT_S:.0f} s: see {log}"
            )
        time.sleep(_LOOK_EVERY_S)
    return child.pid


def _last_word(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.removeprefix("error: ") for line in reversed(lines) if line.strip()), "it said nothing")


def _end_earlier(announce: Path) -> None:
    """Wait for the emulator of a killed run to end: it does so by itself, but takes a moment."""
    try:
        pid = int(json.loads(announce.read_text(encoding="utf-8"))["pid"])
        mine = "phi_runner.azureml.emulator" in " ".join(psutil.Process(pid).cmdline())
    except (OSError, ValueError, KeyError, psutil.Error):
        return
    if mine:
        _end(pid)


def _end(pid: int) -> None:
    """End the emulator alone: jobs that it runs go on, as they would in Azure."""
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        process = psutil.Process(pid)
        os.kill(pid, signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT_S)
    processes.forget(pid)
