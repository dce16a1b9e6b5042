"""HTTP/1.1 over bare sockets, one connection a request: every byte and its time is in the client's hands."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_LONGEST_LINE = 1 << 20
_NARROW = 4096


class BrokenOff(Exception):
    """The connection ended before the response did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent."""

    path: str
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    length: bool = True
    """Say the body's length; else it goes as one chunk."""

    def head(self, *, host: str) -> bytes:
        """Return the request's lines up to the body."""
        size = ("Content-Length", str(len(self.body))) if self.length else ("Transfer-Encoding", "chunked")
        own = [("Host", host), ("Connection", "close"), *([size] if self.method == "POST" else [])]
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in (*own, *self.headers))]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def framed(self) -> bytes:
        """Return the body as it goes over the wire."""
        if self.length or self.method != "POST":
            return self.body
        return b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.body), self.body)


@dataclass(slots=True, kw_only=True)
class Response:
    """A response whose body is still to be read."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    seen: bytearray = field(default_factory=bytearray)
    """Every byte of the body that has come."""

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; raises BrokenOff when the connection ends before it."""
        parts = self._chunks() if self.headers.get("transfer-encoding") == "chunked" else self._counted()
        async for part in parts:
            self.seen += part
            yield part

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            line = await self.reader.readline()
            if not line.endswith(b"\n"):
                raise BrokenOff("within a chunked body")
            size = int(line.split(b";")[0], 16)
            part = await _exactly(self.reader, size + 2)
            if size == 0:
                return
            yield part[:-2]

    async def _counted(self) -> AsyncIterator[bytes]:
        if "content-length" not in self.headers:
            while part := await self.reader.read(1 << 16):
                yield part
            return
        left = int(self.headers["content-length"])
        while left:
            part = await self.reader.read(min(left, 1 << 16))
            if not part:
                raise BrokenOff(f"{left} bytes before the end of the body")
            left -= len(part)
            yield part

    async def whole(self) -> bytes:
        """Return the whole body."""
        async for _part in self.pieces():
            pass
        return bytes(self.seen)

    async def events(self) -> AsyncIterator[str]:
        """Yield the data of server-sent events."""
        pending = b""
        async for part in self.pieces():
            pending = (pending + part).replace(b"\r\n", b"\n")
            while b"\n\n" in pending:
                event, _, pending = pending.partition(b"\n\n")
                for line in event.split(b"\n"):
                    if line.startswith(b"data:"):
                        yield line[5:].strip().decode()


class Connection:
    """One connection to a server; leaving the block closes it, read to the end or not."""

    def __init__(self, url: str, *, narrow: bool = False) -> None:
        """`narrow`: take in little at a time, so that a server feels how slowly its answer is read."""
        place = urlsplit(url)
        self._host, self._port = place.hostname or "127.0.0.1", place.port or 80
        self._narrow = narrow
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> "Connection":
        made = socket.socket()
        made.setblocking(False)
        if self._narrow:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW)
        try:
            await asyncio.get_running_loop().sock_connect(made, (self._host, self._port))
        except BaseException:
            made.close()
            raise
        limit = _NARROW if self._narrow else _LONGEST_LINE
        self.reader, self.writer = await asyncio.open_connection(sock=made, limit=limit)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.writer.transport.abort()  # what is not sent by now is not to be sent: a server may never read it
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def send(self, request: Request, *, pieces: int = 1, pause_s: float = 0.0) -> None:
        """Send a whole request, in pieces with pauses between them."""
        whole = request.head(host=f"{self._host}:{self._port}") + request.framed()
        step = -(-len(whole) // pieces)
        for at in range(0, len(whole), step):
            await self.write(whole[at : at + step])
            if at + step < len(whole):
                await asyncio.sleep(pause_s)

    async def send_part(self, request: Request) -> None:
        """Send the head and half of the body."""
        body = request.framed()
        await self.write(request.head(host=f"{self._host}:{self._port}") + body[: len(body) // 2])

    async def write(self, data: bytes) -> None:
        """Send bytes; a server that has answered and closed already is no error, its answer is still to be read."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except (ConnectionResetError, BrokenPipeError):
            pass

    async def response(self) -> Response:
        """Return the response as soon as its head is there; raises BrokenOff when none comes."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as err:
            raise BrokenOff("no response") from err
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return Response(status=int(first.split()[1]), headers=headers, reader=self.reader)


def post(path: str, body: Any, *, key: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Request:
    """Return a request with a JSON body."""
    own = (("Content-Type", "application/json"), *((("Authorization", f"Bearer {key}"),) if key else ()))
    return Request(path=path, headers=(*own, *headers), body=json.dumps(body).encode())


async def _exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as err:
        raise BrokenOff("within a chunk") from err
