"""The only way to the emulator: a CONNECT proxy that knows Azure's host names, refuses every other and records it."""

import asyncio
import contextlib
import json
import re
import socket
from pathlib import Path

from phi_runner.azureml.emulator.cloud import Body, now
from phi_runner.azureml.emulator.settings import ADMIN_HOST

_CONTROL = re.compile(
    r"management\.azure\.com|login\.microsoftonline\.com|ml\.azure\.com|[a-z0-9-]+\.api\.azureml\.ms|"
    r"([a-z0-9-]+\.){1,2}inference\.ml\.azure\.com|" + re.escape(ADMIN_HOST),
    re.IGNORECASE,
)
BLOB_HOST = re.compile(r"([a-z0-9]{3,24})\.blob\.core\.windows\.net", re.IGNORECASE)
_REFUSAL = b"HTTP/1.1 403 Forbidden (offline rehearsal: this host is not emulated)\r\ncontent-length: 0\r\n\r\n"
_PIECE = 1 << 16
_ACKNOWLEDGE_AT_ONCE = getattr(socket, "TCP_QUICKACK", 0)
"""urllib3 leaves Nagle's algorithm on when it talks to a proxy: a late acknowledgement costs each upload 40 ms."""


class Proxy:
    """Hands the bytes of known hosts to loopback ports; refusals are kept in a file, one JSON line each."""

    def __init__(self, *, refusals: Path) -> None:
        self._refusals = refusals
        self._control = self._blobs = 0
        self._server: asyncio.Server | None = None

    async def listen(self, port: int) -> int:
        """Listen on loopback and return the port; raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    def lead(self, *, control: int, blobs: int) -> None:
        """Say which loopback ports answer for the control plane and for blobs."""
        self._control, self._blobs = control, blobs

    def close(self) -> None:
        """Listen no more."""
        if self._server:
            self._server.close()

    def refused(self) -> list[Body]:
        """Return what was refused since the folder was made."""
        if not self._refusals.exists():
            return []
        return [json.loads(line) for line in self._refusals.read_text(encoding="utf-8").splitlines()]

    def _port(self, method: str, target: str) -> int:
        host, _, port = target.rpartition(":")
        if method != "CONNECT" or port != "443":
            return 0
        if BLOB_HOST.fullmatch(host):
            return self._blobs
        return self._control if _CONTROL.fullmatch(host) else 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            if port := self._port(method, target):
                await _tunnel(reader, writer, port=port)
            else:
                self._record(method, target)
                writer.write(_REFUSAL)
                await writer.drain()
        writer.close()

    def _record(self, method: str, target: str) -> None:
        address = target.split("?", 1)[0]  # a query may carry secrets
        with self._refusals.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"at": now(), "method": method, "host": address}) + "\n")


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, port: int) -> None:
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    client = writer.get_extra_info("socket") if _ACKNOWLEDGE_AT_ONCE else None
    await asyncio.gather(_pass(reader, far_writer, source=client), _pass(far_reader, writer))


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, source: socket.socket | None = None
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_PIECE):
            if source:
                source.setsockopt(socket.IPPROTO_TCP, _ACKNOWLEDGE_AT_ONCE, 1)
            writer.write(data)
            await writer.drain()
    writer.close()
