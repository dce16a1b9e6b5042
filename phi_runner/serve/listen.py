"""Where the server listens: on the port asked for, on any free one, or at first there and then in another's place."""

import asyncio
import errno
import socket
from pathlib import Path

import uvicorn

from phi_runner.serve.settings import Settings, announce

_LOOK_AGAIN_S = 0.05


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free one; raises OSError, with EADDRINUSE when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


class Server(uvicorn.Server):
    """uvicorn, and a second socket on the port of the server that this one replaces."""

    def __init__(self, config: uvicorn.Config, *, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings
        self._succession: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does; a successor then waits for its port."""
        await super().startup(sockets)
        if self._settings.successor:
            self._succession = asyncio.create_task(self._succeed())

    async def _succeed(self) -> None:
        """Listen on the wanted port as soon as the predecessor has let go of it."""
        while True:
            try:
                listener = bind(self._settings.host, self._settings.port)
                break
            except OSError as err:
                if err.errno != errno.EADDRINUSE:
                    raise
                await asyncio.sleep(_LOOK_AGAIN_S)
        self.servers.append(await asyncio.get_running_loop().create_server(self._connection, sock=listener))
        announce(Path(self._settings.announce), port=self._settings.port)

    def _connection(self) -> asyncio.Protocol:
        protocol: type[asyncio.Protocol] = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop waiting for the port, then drain as uvicorn does."""
        if self._succession:
            self._succession.cancel()
        await super().shutdown(sockets)
