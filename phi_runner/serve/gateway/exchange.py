"""One request handed to one engine: headers without those of the connection, the answer as it comes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from phi_runner.serve.gateway.refusals import Refused, engine_died

_OF_THE_CONNECTION = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "content-length",
})  # fmt: skip
_OF_THE_REQUEST = _OF_THE_CONNECTION | {"host", "expect"}
_CONNECT_S = 5.0
_END_OF_EVENT = b"\n\n"
_STOPPING = b'"stopping"'
"""Kind of the refusal of an engine that somebody has asked to end."""


class EngineGone(Exception):
    """The engine went away and the client has not got a byte yet."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__("the engine went away")
        self.sent = sent
        """True: it may have seen the request."""


async def exchange(
    session: aiohttp.ClientSession, request: web.Request, *, url: str, body: bytes | None, limit_s: float
) -> web.StreamResponse:
    """Return the engine's answer, a stream of events already sent to its end.

    Raises EngineGone while nothing has been answered, and Refused when the engine stays silent for `limit_s`.
    """
    with _trouble_told(limit_s):
        answer = await session.request(
            request.method, URL(url + request.raw_path, encoded=True), data=body, allow_redirects=False,
            headers=_passed(request.headers, without=_OF_THE_REQUEST),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=limit_s),
        )  # fmt: skip
    async with answer:
        headers = _passed(answer.headers, without=_OF_THE_CONNECTION)
        if answer.content_type == "text/event-stream":
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            await _stream(answer, response)
            return response
        with _trouble_told(limit_s):
            whole = await answer.read()
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE and _STOPPING in whole:
            raise EngineGone(sent=False)
        return web.Response(status=answer.status, headers=headers, body=whole)


@contextmanager
def _trouble_told(limit_s: float) -> Iterator[None]:
    """Tell apart an engine that was not reached, one that went away, and one that hangs."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as err:
        raise EngineGone(sent=False) from err
    except aiohttp.SocketTimeoutError as err:
        raise Refused(504, f"the engine said nothing for {limit_s:g} s", kind="timeout") from err
    except aiohttp.ClientError as err:
        raise EngineGone(sent=True) from err


async def _stream(answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    """Hand on whole events as they come; when the engine dies among them, the last one says so."""
    held = b""
    while True:
        try:
            chunk = await answer.content.readany()
        except (aiohttp.ClientError, TimeoutError):
            # In the place of half an event.
            held = b"data: " + json.dumps(engine_died().body()).encode() + _END_OF_EVENT
            break
        if not chunk:
            break
        whole, end, rest = (held + chunk).rpartition(_END_OF_EVENT)
        if end:
            await response.write(whole + end)
        held = rest
    if held:
        await response.write(held)
    await response.write_eof()


def _passed(headers: CIMultiDictProxy[str], *, without: frozenset[str]) -> CIMultiDict[str]:
    """Return the headers that concern both ends, not one connection alone."""
    named = headers.get(hdrs.CONNECTION, "")
    left_out = without | {name.strip().lower() for name in named.split(",")} if named else without
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in left_out)
