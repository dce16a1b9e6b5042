"""What every request passes before a route sees it: the key, the drain, its body's bounds; a log line and a count."""

import asyncio
import logging
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phi_runner.serve.keys import Keys
from phi_runner.serve.refusals import CLIENT_GONE, REFUSED, Refusal
from phi_runner.serve.service import Service
from phi_runner.serve.settings import Settings

OPEN_PATHS = ("/health/live", "/health/ready")
"""The only paths that need no key: a probe has none, and they say one word.

`/metrics` tells how busy the endpoint is and `/swagger.json` what it accepts; Prometheus sends a key as easily as any
client, and Azure's own endpoints ask for one before they show their swagger.
"""
_ALIVE_TO_THE_END = ("/health/live", "/metrics")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_OTHER = "other"
_LONGEST_LOGGED_PATH = 200
log = logging.getLogger("phi_runner.serve")


class Guard:
    """ASGI middleware in front of the application; log and metrics get no word of what was sent."""

    def __init__(self, app: ASGIApp, *, keys: Keys, service: Service, paths: frozenset[str]) -> None:
        """`paths`: those that there are, to count what is refused before it is routed."""
        self._app = app
        self._paths = paths
        self._keys = keys
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            with self._service.answering():
                await self._admit(scope, receive, note)
        except Refusal as refusal:
            await refusal.response(scope)(scope, receive, note)
        finally:
            self._note(scope, status=status, took_s=time.perf_counter() - begun)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["path"] not in OPEN_PATHS and not self._keys.know(_offered(headers)):
            raise Refusal(
                401, "a valid key is needed: send it as 'Authorization: Bearer KEY'", kind="authentication_error",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        if self._service.draining and scope["path"] not in _ALIVE_TO_THE_END:
            raise Refusal(
                503, "the endpoint is ending: ask again", kind="stopping",
                headers={"Connection": "close", "Retry-After": "1"},
            )  # fmt: skip
        body = await _read(receive, limits=self._service.settings, announced=headers.get(b"content-length", b""))
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)

    def _note(self, scope: Scope, *, status: int, took_s: float) -> None:
        unrouted = scope["path"] if scope["path"] in self._paths else _OTHER
        route = str(getattr(scope.get("route"), "path", unrouted))
        method = scope["method"] if scope["method"] in _METHODS else _OTHER
        refused = scope.get(REFUSED, "")
        self._service.metrics.answered(route=route, method=method, status=status)
        if refused:
            self._service.metrics.refused(refused)
        if scope["path"] not in OPEN_PATHS:
            path = scope["raw_path"].decode("latin-1")[:_LONGEST_LOGGED_PATH]
            log.info("%s %s %d %.0f ms %s", scope["method"], path, status, took_s * 1000, refused or "answered")


def _offered(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else headers.get(b"api-key", b"")


async def _read(receive: Receive, *, limits: Settings, announced: bytes) -> bytes:
    """Return the whole body; raises Refusal 413 as soon as it is known to be too long, 408 when it trickles in."""
    if announced.isdigit() and int(announced) > limits.max_body_bytes:
        raise _too_long(limits)
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            return await _whole(receive, limits=limits)
    except TimeoutError:
        message = f"the body took longer than body_timeout_s={limits.body_timeout_s:g} s to arrive"
        raise Refusal(408, message, kind="body_too_slow", headers={"Connection": "close"}) from None


async def _whole(receive: Receive, *, limits: Settings) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(CLIENT_GONE, "the client hung up", kind="client_gone")
        body += message.get("body", b"")
        if len(body) > limits.max_body_bytes:
            raise _too_long(limits)
        if not message.get("more_body", False):
            return bytes(body)


def _too_long(limits: Settings) -> Refusal:
    return Refusal(413, f"the body is longer than {limits.max_body_bytes} bytes", kind="body_too_long")
