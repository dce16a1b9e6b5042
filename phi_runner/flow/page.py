"""Keep a flow's server running in a process of its own: one per name, tied to the run unless it is let go."""

import errno
import socket
import subprocess
import time
from pathlib import Path

from phi_runner import processes
from phi_runner.errors import FlowFailed
from phi_runner.flow.back_end import Server
from phi_runner.processes import Running

KIND = "flow"
_POLL_S = 0.1


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
    server: Server, *, name: str, host: str, port: int, outputs: Path, detach: bool, timeout_s: float = 90.0
) -> Running:
    """Start a flow's server in place of the one of that name, and return it when it is healthy.

    Runs that ask for the same name take turns. Raises FlowFailed.
    """
    with processes.name_lock(KIND, name, outputs=outputs):
        _end_earlier(name, outputs=outputs)
        return _start(
            server, name=name, host=host, port=_claim(host, port), outputs=outputs, detach=detach, timeout_s=timeout_s
        )


def _start(
    server: Server, *, name: str, host: str, port: int, outputs: Path, detach: bool, timeout_s: float
) -> Running:
    """Start a server, wait until it is healthy and write it down; whatever goes wrong on the way, it is stopped."""
    url, log = processes.url_of(host, port), outputs / "logs" / f"flow-{name}.log"
    child = processes.start_command(
        [*server.command, "--host", host, "--port", str(port)], log=log, detach=False, environment=server.environment
    )
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
