"""Where a deployment's server listens, and uvicorn with a drain of our own before its end."""

import socket
from collections.abc import Awaitable, Callable

import uvicorn


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free one; raises OSError, with EADDRINUSE when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


class Server(uvicorn.Server):
    """uvicorn that drains while its sockets are still open, so that latecomers are told why."""

    def __init__(self, config: uvicorn.Config, *, drain: Callable[[], Awaitable[object]]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, close."""
        await self._drain()
        await super().shutdown(sockets)
