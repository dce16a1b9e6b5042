"""`python -m phi_runner.serve.gateway --settings FILE`: one gateway process, from its first line of log to its end."""

import argparse
import asyncio
import errno
import logging
import signal
import socket
import sys
from pathlib import Path

from phi_runner import processes
from phi_runner.errors import DeployFailed, PhiRunnerError
from phi_runner.serve.gateway import steering
from phi_runner.serve.gateway.fleet import Fleet
from phi_runner.serve.gateway.steering import GatewaySettings
from phi_runner.serve.settings import EXIT_PORT_IN_USE

DRAIN_S = 8
"""How long running answers get after SIGTERM; shorter than the grace that `processes.stop` gives."""
_OTHERS_MAY_WRITE = 0o022


class PortInUse(DeployFailed):
    """Another program listens on the port."""

    exit_code = EXIT_PORT_IN_USE


def main() -> int:
    """Serve until SIGTERM, or until the run that started us is gone; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m phi_runner.serve.gateway")
    parser.add_argument("--settings", type=Path, required=True, help="JSON file with the fields of GatewaySettings")
    file = parser.parse_args().settings
    processes.stop_with_parent()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = _read(file)
        with _bind(settings.host, settings.port) as listener:
            asyncio.run(_serve(settings, listener))
    except PhiRunnerError as err:
        sys.stderr.write(f"error: {err}\n")
        return err.exit_code
    return 0


def _read(file: Path) -> GatewaySettings:
    try:
        settings = steering.read_settings(file)
        mode = Path(settings.folder).stat().st_mode
    except (OSError, ValueError, TypeError) as err:
        raise DeployFailed(f"cannot read the gateway's settings {file}: {err}") from err
    if mode & _OTHERS_MAY_WRITE:
        raise DeployFailed(f"others may write into {settings.folder}, which steers the endpoint: chmod 700 it")
    return settings


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as err:
        if err.errno != errno.EADDRINUSE:
            raise DeployFailed(f"cannot listen on {host}:{port}: {err.strerror}") from err
        raise PortInUse(f"port {port} on {host} is already in use") from err


async def _serve(settings: GatewaySettings, listener: socket.socket) -> None:
    enough = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, enough.set)
    fleet = Fleet(settings)
    following = asyncio.create_task(fleet.follow())
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # engines that are planned already start while the HTTP library is imported
    from phi_runner.serve.gateway import proxy

    async with proxy.answering(listener, fleet=fleet, settings=settings, drain_s=DRAIN_S):
        fleet.listening(listener.getsockname()[1])
        await enough.wait()
        following.cancel()
    await fleet.close()


if __name__ == "__main__":
    sys.exit(main())
