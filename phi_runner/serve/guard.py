"""What every request passes before a route sees it: the key, the size of its body, and one line in the log."""

import hmac
import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phi_runner.serve.refusals import Refusal

MAX_BODY_BYTES = 1024 * 1024
OPEN_PATHS = ("/health/live", "/health/ready")
_LONGEST_LOGGED_PATH = 200
log = logging.getLogger("phi_runner.serve")


class Guard:
    """ASGI middleware in front of the application; the log gets method, path, status and time, never what was sent."""

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        self._app = app
        self._key = key.encode()

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
            await self._admit(scope, receive, note)
        except Refusal as refusal:
            await refusal.response()(scope, receive, note)
        finally:
            path = scope["raw_path"].decode("latin-1")[:_LONGEST_LOGGED_PATH]
            if scope["path"] not in OPEN_PATHS:
                log.info("%s %s %d %.0f ms", scope["method"], path, status, (time.perf_counter() - begun) * 1000)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["path"] not in OPEN_PATHS and not self._knows(headers):
            raise Refusal(
                401, "a valid key is needed: send it as 'Authorization: Bearer KEY'", kind="authentication_error",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        body = await _read(receive, announced=headers.get(b"content-length", b""))
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)

    def _knows(self, headers: dict[bytes, bytes]) -> bool:
        """Compare in constant time, so that the time an answer takes tells nothing about the key."""
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        offered = token.strip() if scheme.lower() == b"bearer" else headers.get(b"api-key", b"")
        return hmac.compare_digest(offered, self._key)


async def _read(receive: Receive, *, announced: bytes) -> bytes:
    """Return the whole body; raises Refusal 413 as soon as it is known to be too long."""
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise _too_long()
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _too_long()
        if not message.get("more_body", False):
            return bytes(body)


def _too_long() -> Refusal:
    return Refusal(413, f"the body is longer than {MAX_BODY_BYTES} bytes", kind="body_too_long")
