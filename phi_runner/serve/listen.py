"""Where a deployment's server listens, and uvicorn with a drain of our own before its end."""

import os
import socket
from collections.abc import Awaitable, Callable

import uvicorn


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free one; raises OSError, with EADDRINUSE when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the socket names its protocol, which `create_server` does not:
    # on a connection that is kept, every answer would wait 40 ms for the client's delayed acknowledgement
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


class Server(uvicorn.Server):
    """uvicorn that drains while its sockets are still open, so that latecomers are told why."""

    def __init__(self, config: uvicorn.Config, *, drain: Callable[[], Awaitable[object]]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, close."""
        await self._drain()
        await super().shutdown(sockets)
