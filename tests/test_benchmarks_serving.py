"""The serving benchmarks' own pieces: what counts as lost, leaked, equal, first; figures that are what they say."""

import asyncio
import json
import os
from collections.abc import Coroutine
from typing import TypeVar

import pytest

from benchmarks.serving import aims, bandwidth, ours, peers
from benchmarks.serving.ask import Answer, Asked, Dialect, ask
from benchmarks.serving.cases import Case, Manner, Mix
from benchmarks.serving.http import BrokenOff, Connection, Request, post
from benchmarks.serving.ledger import Ledger
from benchmarks.serving.measured import Cell, Measured, cell
from benchmarks.serving.memory import Memory
from benchmarks.serving.model import Reference, bytes_per_token
from benchmarks.serving.visit import Outcome, visit

_KNOWN = {"Why?": Reference(text="Because it is so.", tokens=5)}
_CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_Result = TypeVar("_Result")


def _with_server(answer: bytes, client: "Client[_Result]", *, heard: bytearray | None = None) -> _Result:
    """Let a client talk to a server that says the same bytes to everybody and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.extend(said)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def run() -> _Result:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await client(f"http://127.0.0.1:{port}")

    return asyncio.run(run())


class Client(__import__("typing").Protocol[_Result]):
    """What is done with the server's address."""

    def __call__(self, url: str) -> Coroutine[None, None, _Result]: ...


def _chunks(*parts: bytes, whole: bool = True) -> bytes:
    return _CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if whole else b"")


def _event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def _json(status: int, body: object, *headers: bytes) -> bytes:
    said = json.dumps(body).encode()
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(said), lines, said)
