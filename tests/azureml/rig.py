"""An emulator process for tests: started in a folder, talked to by the real clients through its environment."""

import contextlib
import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from phi_runner import processes
from phi_runner.azureml.emulator.settings import ADMIN_HOST, client_environment

_READY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A running emulator."""

    folder: Path
    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    """For client processes: proxy, certificates and sign-in."""
    wire_log: Path

    @property
    def pid(self) -> int:
        """The emulator's process."""
        return self.process.pid

    def admin(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """POST a body to the admin host, or GET without one; return the answer."""
        proxy = urlsplit(self.environment["HTTPS_PROXY"])
        context = ssl.create_default_context(cafile=self.environment["SSL_CERT_FILE"])
        connection = http.client.HTTPSConnection(str(proxy.hostname), proxy.port, context=context, timeout=30)
        connection.set_tunnel(ADMIN_HOST, 443)
        with contextlib.closing(connection):
            payload = None if body is None else json.dumps(body)
            method = "GET" if body is None else "POST"
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
            assert answer.status < 400, found
            return found

    def wire(self) -> list[dict[str, Any]]:
        """Return the calls so far, oldest first."""
        return [json.loads(line) for line in self.wire_log.read_text(encoding="utf-8").splitlines()]

    def refused(self) -> list[dict[str, Any]]:
        """Return what the proxy refused."""
        found: list[dict[str, Any]] = self.admin("/refused")["value"]
        return found


@contextlib.contextmanager
def running(folder: Path, **options: str | float) -> Iterator[Rig]:
    """Run an emulator on a folder, with options of its command line such as `operation_s=0.1`."""
    announce, wire_log = folder / "announce.json", folder / "wire.jsonl"
    arguments = ["--folder", str(folder), "--announce", str(announce), "--wire-log", str(wire_log)]
    for name, value in ({"operation_s": 0.05} | options).items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    announce.unlink(missing_ok=True)
    process = processes.start(
        "phi_runner.azureml.emulator", arguments, log=folder / "emulator.log", detach=False,
    )  # fmt: skip
    until = time.monotonic() + _READY_S
    try:
        while not announce.exists():
            assert process.poll() is None, (folder / "emulator.log").read_text(encoding="utf-8")
            assert time.monotonic() < until, "the emulator does not get ready"
            time.sleep(0.02)
        environment = client_environment(announce, folder=folder)
        yield Rig(folder=folder, process=process, environment=environment, wire_log=wire_log)
    finally:
        processes.stop(process.pid)
