"""Serve the chat page until SIGTERM: the entry point of its process."""

import argparse
import errno
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

from phi_runner import processes
from phi_runner.chat.page import settings as told
from phi_runner.chat.page.settings import Settings
from phi_runner.serve.settings import EXIT_PORT_IN_USE, announce


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; ends the process with a line in the log when the address cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as err:
        _end(f"{host}:{port}: {err.strerror}", EXIT_PORT_IN_USE if err.errno == errno.EADDRINUSE else 1)


def _end(problem: str, code: int) -> NoReturn:
    sys.stderr.write(f"error: {problem}\n")
    sys.exit(code)


def _serve(settings: Settings, listener: socket.socket) -> None:
    import httpx
    import uvicorn
    from fastapi import FastAPI
    from nicegui import ui

    from phi_runner.chat import wire
    from phi_runner.chat.page import view
    from phi_runner.chat.page.guard import Guard

    here = {f"all://{f'[{host}]' if ':' in host else host}": None for host in wire.LOOPBACK}
    client = httpx.AsyncClient(
        timeout=httpx.Timeout(wire.LONGEST_WAIT_S, connect=wire.CONNECT_WAIT_S), limits=httpx.Limits(),
        mounts=here,  # no proxy stands before this machine
    )  # fmt: skip

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        announce(Path(settings.announce), port=listener.getsockname()[1])
        async with client:
            yield

    async def health() -> dict[str, str]:
        return {"status": "ready"}

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, host=settings.host)
    app.add_api_route("/health", health)
    view.build(settings, client=client)
    ui.run_with(
        app, title=view.TITLE, dark=None, reconnect_timeout=view.RECONNECT_S, show_welcome_message=False,
        favicon="💬",
    )  # fmt: skip
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listener])


def main() -> None:
    """Read the settings, take the port, serve."""
    processes.stop_with_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", type=Path, required=True)
    settings = told.read(parser.parse_args().settings)
    os.environ["NICEGUI_STORAGE_PATH"] = settings.state  # read when the library is imported
    _serve(settings, _listen(settings.host, settings.port))


if __name__ == "__main__":
    main()
