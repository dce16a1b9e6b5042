"""Serve a flow's page and API in a process of its own: Prompt flow's serving app behind uvicorn."""

import argparse
import errno
import os
import socket
import subprocess
import time
from pathlib import Path

from phi_runner import processes
from phi_runner.errors import FlowFailed
from phi_runner.flow import pf
from phi_runner.processes import Running

KIND = "flow"
_KEY = "PHI_RUNNER_ENDPOINT_KEY"
"""Environment variable in which the page gets a key that lies in no file; an argument could be read by everybody."""
_POLL_S = 0.1
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with, not bound to


def _claim(host: str, port: int) -> int:
    """Return a port that can be bound now; raises FlowFailed with what to type when `port` cannot."""
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family[0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(family[4])
            return int(probe.getsockname()[1])
    except socket.gaierror as err:
        raise FlowFailed(f"flow.host={host} is not an address of this machine: {err.strerror}") from err
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            raise FlowFailed(
                f"port {port} of {host} is in use by another program: add flow.port=0 for any free port, or stop it"
            ) from err
        raise FlowFailed(f"the flow's page cannot have port {port} of {host}: {err.strerror}") from err


def _url(host: str, port: int) -> str:
    address = _ANY_ADDRESS.get(host, host)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _wait(child: subprocess.Popen[bytes], *, url: str, log: Path, timeout_s: float) -> None:
    """Wait until the page is healthy; raises FlowFailed when its process ends or takes too long."""
    import httpx

    until = time.monotonic() + timeout_s
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < until:
            if child.poll() is not None:
                raise FlowFailed(f"the flow's page ended at its start (exit code {child.returncode}); see {log}")
            try:
                if client.get(f"{url}/health").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                time.sleep(_POLL_S)
    raise FlowFailed(f"the flow's page at {url} was not ready within {timeout_s:.0f} s; see {log}")


def serve(
    folder: Path, *, name: str, connection: pf.Connection, host: str, port: int, outputs: Path, detach: bool,
    timeout_s: float = 90.0,
) -> Running:  # fmt: skip
    """Start the page of the flow in `folder` in place of the one of that name, and return it when it is healthy.

    Runs that ask for the same name take turns.
    """
    lacking = pf.missing("fastapi", "uvicorn")
    if lacking:
        raise FlowFailed(lacking)
    if not (folder / "flow.dag.yaml").is_file():
        raise FlowFailed(f"there is no flow in {folder}: render it with stages=[flow]")
    with processes.name_lock(KIND, name, outputs=outputs):
        _end_earlier(name, outputs=outputs)
        return _start(
            folder, name=name, connection=connection, host=host, port=_claim(host, port), outputs=outputs,
            detach=detach, timeout_s=timeout_s,
        )  # fmt: skip


def _start(
    folder: Path, *, name: str, connection: pf.Connection, host: str, port: int, outputs: Path, detach: bool,
    timeout_s: float,
) -> Running:  # fmt: skip
    """Start a page, wait until it is healthy and write it down; whatever goes wrong on the way, it is stopped."""
    url, log = _url(host, port), outputs / "logs" / f"flow-{name}.log"
    arguments = [
        "--folder", folder.resolve(), "--home", outputs.resolve() / "promptflow", "--host", host, "--port", port,
        "--connection", connection.name, "--endpoint", connection.endpoint,
    ]  # fmt: skip
    if connection.key_file:
        arguments += ["--key-file", connection.key_file.resolve()]
    child = processes.start(
        "phi_runner.flow.page", [str(item) for item in arguments], log=log, detach=False,
        environment={} if connection.key_file else {_KEY: connection.key},
    )  # fmt: skip
    try:
        _wait(child, url=url, log=log, timeout_s=timeout_s)
        running = Running(
            name=name, kind=KIND, pid=child.pid, created=processes.created(child.pid), url=url, log=str(log),
            detached=detach,
        )  # fmt: skip
        processes.write_down(running, outputs=outputs)
    except BaseException:
        processes.stop(child.pid)
        raise
    if detach:
        processes.let_go(child.pid)
    return running


def _end_earlier(name: str, *, outputs: Path) -> None:
    """Stop the page of that name; raises FlowFailed when it belongs to a run that is still going."""
    earlier = processes.find(KIND, name, outputs=outputs)
    if earlier is None:
        return
    if not earlier.detached and not processes.is_ours(earlier.pid):
        raise FlowFailed(f"the page of flow {name} at {earlier.url} belongs to another run: type flow.name=ANOTHER")
    processes.stop_recorded(earlier, outputs=outputs)


def main() -> None:
    """Serve until SIGTERM; the child's entry point."""
    processes.stop_with_parent()
    parser = argparse.ArgumentParser()
    for name in ("folder", "home", "host", "connection", "endpoint"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args()
    pf.prepare(Path(chosen.home))
    key = pf.read_key(chosen.key_file) if chosen.key_file else os.environ.pop(_KEY)
    connection = pf.Connection(name=chosen.connection, endpoint=chosen.endpoint, key=key)
    app = pf.app(Path(chosen.folder), connection=connection)
    import uvicorn

    uvicorn.run(app, host=chosen.host, port=chosen.port, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()
