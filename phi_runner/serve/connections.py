"""One client's connection: what is no HTTP gets JSON too, and whoever trickles a request in is cut off."""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

RECEIVE_S = 60.0
"""Longest time from a request's first byte, or from the connection's beginning, until all of it is there."""


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1, which waits forever for the rest of a header; give it to `uvicorn.Config(http=...)`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came; the clock runs on while it is not yet a whole request."""
        super().data_received(data)
        receiving = self.conn.their_state is h11.SEND_BODY or (
            self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        )
        if not receiving:
            self._stop_waiting()
        elif self._cut is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the clock."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        body = json.dumps({"error": {"message": msg, "type": "invalid_http", "param": None}}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def _wait(self) -> None:
        self._cut = self.loop.call_later(RECEIVE_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._cut:
            self._cut.cancel()
            self._cut = None
