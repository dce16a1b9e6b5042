"""What the page's server refuses: other sites' requests, other names for this machine, and any look beyond it."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phi_runner.chat.wire import LOOPBACK

_EVERYWHERE = {"0.0.0.0", "::", ""}  # noqa: S104 - compared with, not bound to
_HEADERS = {
    # the page's library compiles its templates in the browser, which needs eval; everything comes from this very server
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Answers 403 where a request names another host (DNS rebinding) or comes from another site's page."""

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self._app = app
        self._names = None if host in _EVERYWHERE else LOOPBACK | {host} if host in LOOPBACK else {host}
        """None: whoever reaches this machine knows it by a name of its own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or refuse it; no answer may be shown in a frame or fetch from elsewhere."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        reason = self._against(Headers(scope=scope))
        if not reason:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "http":
            await PlainTextResponse(reason, status_code=403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": reason})

    def _against(self, headers: Headers) -> str:
        """Say what stands against a request, or nothing."""
        host = headers.get("host", "")
        if self._names is not None and urlsplit(f"//{host}").hostname not in self._names:
            return f"this page is not at {host[:80]}"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "requests from other sites are refused"
        return ""


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sending
