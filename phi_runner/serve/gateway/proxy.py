"""The HTTP side of the gateway: every request finds an engine, and another one where that costs the client nothing."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import aiohttp
from aiohttp import web

from phi_runner.serve.gateway import refusals
from phi_runner.serve.gateway.engine import Engine
from phi_runner.serve.gateway.exchange import EngineGone, exchange
from phi_runner.serve.gateway.fleet import Fleet
from phi_runner.serve.gateway.metrics import CONTENT_TYPE, Counts, exposition
from phi_runner.serve.gateway.refusals import Refused
from phi_runner.serve.gateway.steering import GatewaySettings
from phi_runner.serve.keys import KeyFile, Keys

PINNED_HEADER = "azureml-model-deployment"
"""Azure's own: asks one deployment, past the division of the traffic."""
_MOST_HELD_BYTES = 256 * 1024 * 1024
"""Of all request bodies together."""
_LINGER_S = 1.0
"""What is still sent after a refusal is read so long, or the client would see a reset and not the refusal."""
_MOST_SENDS = 2
"""A request that two engines died of is not given to a third."""
_LOOK_AGAIN_S = 0.25
_KEEP_ALIVE_S = 4.0
"""Shorter than uvicorn's 5 s: a connection is let go before the engine closes it under a request."""
_MARGIN_S = 15.0
"""An engine refuses at its own limits; past those and this it hangs."""
log = logging.getLogger("phi_runner.gateway")


@contextlib.asynccontextmanager
async def answering(
    listener: socket.socket, *, fleet: Fleet, settings: GatewaySettings, drain_s: float
) -> AsyncIterator[None]:
    """Answer on the socket during a block; requests in progress at its end get `drain_s` more."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    ) as session:  # fmt: skip
        proxy = Proxy(fleet, session=session, keys=KeyFile(Path(settings.key_file)))
        app = web.Application()
        app.router.add_get("/health/live", proxy.live)
        app.router.add_get("/health/ready", proxy.ready)
        app.router.add_get("/metrics", proxy.metrics)
        app.router.add_route("*", "/{path:.*}", proxy.pass_on)
        app.on_response_prepare.append(_without_our_name)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=drain_s, lingering_time=_LINGER_S
        )
        await runner.setup()
        await web.SockSite(runner, listener).start()
        try:
            yield
        finally:
            await runner.cleanup()


async def _without_our_name(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)


class Proxy:
    """The routes; everything but health and metrics is an engine's to answer."""

    def __init__(self, fleet: Fleet, *, session: aiohttp.ClientSession, keys: Keys) -> None:
        self._fleet = fleet
        self._session = session
        self._keys = keys
        self._held_bytes = 0
        self._counts = Counts()

    async def live(self, _request: web.Request) -> web.Response:
        """Say that the endpoint's process is there."""
        return web.json_response({"status": "live"})

    async def ready(self, request: web.Request) -> web.Response:
        """Say whether a request would be answered now; 503 while it would not."""
        name = request.headers.get(PINNED_HEADER, "")
        if name and name not in self._fleet.engines:
            return refusals.unknown_deployment(name).response()
        if self._fleet.engines[name].ready if name else self._fleet.can_answer:
            return web.json_response({"status": "ready"})
        return refusals.no_engine("no deployment that could answer is ready").response()

    async def metrics(self, request: web.Request) -> web.Response:
        """Return the gateway's numbers, and each engine's with the deployment as a label."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        offered = token.strip() if scheme.lower() == "bearer" else request.headers.get("api-key", "")
        if not self._keys.know(offered.encode()):
            return refusals.stranger().response()
        text = await exposition(self._fleet, self._counts, session=self._session, headers=request.headers)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Have an engine answer; a client that hangs up cancels this, which closes the connection to the engine."""
        try:
            self._named(request)  # what nobody can answer is not read either
            async with self._body(request) as body:
                return await self._answer(request, body=body)
        except Refused as refused:
            self._counts.refused[refused.kind] += 1
            return refused.response()

    @contextlib.asynccontextmanager
    async def _body(self, request: web.Request) -> AsyncIterator[bytes | None]:
        """Hold a request's whole body, as an engine would: so it can be sent twice, and a slow client holds no engine.

        Raises Refused when it is longer than any engine takes, comes too slowly, or all bodies together are too much.
        """
        body = bytearray()
        try:
            await self._receive(request, into=body)
            yield bytes(body) if request.body_exists else None
        finally:
            self._held_bytes -= len(body)

    async def _receive(self, request: web.Request, *, into: bytearray) -> None:
        most, within_s = self._fleet.body_limits
        if (request.content_length or 0) > most:
            raise refusals.too_long(most)
        try:
            async with asyncio.timeout(within_s):
                while chunk := await request.content.readany():
                    into += chunk
                    self._held_bytes += len(chunk)
                    if len(into) > most:
                        raise refusals.too_long(most)
                    if self._held_bytes > _MOST_HELD_BYTES:
                        raise refusals.no_engine("too many requests are being sent at once")
        except TimeoutError as err:
            raise refusals.too_slow(within_s) from err

    async def _answer(self, request: web.Request, *, body: bytes | None) -> web.StreamResponse:
        """Ask engines until one answers; raises Refused when none does in the time that a request may wait for one."""
        deadline, sends, gone = time.monotonic() + self._fleet.patience_s, 0, set[Engine]()
        while True:
            engine = self._choose(request, without=gone)
            if engine is None:
                gone.clear()
                await self._wait(until=deadline)
                continue
            try:
                return await self._ask(engine, request, body=body)
            except EngineGone as err:
                sends += err.sent
                if sends >= _MOST_SENDS:
                    raise refusals.engine_died() from err
                gone.add(engine)
                self._counts.retried += 1
                log.warning("deployment %s went away under %s %s", engine.name, request.method, request.path[:200])

    def _choose(self, request: web.Request, *, without: Collection[Engine]) -> Engine | None:
        """Return who is to be asked now, None when that takes waiting; raises Refused when waiting would not help."""
        named = self._named(request)
        if named is None:
            return self._fleet.choose(without=without)
        return named if named.ready and named not in without else None

    def _named(self, request: web.Request) -> Engine | None:
        """Return the engine that a request names, None where any will do; raises Refused when none ever will."""
        name = request.headers.get(PINNED_HEADER, "")
        if not name:
            if not self._fleet.may_answer:
                raise refusals.no_engine("no deployment has traffic and is well: the endpoint's log says why")
            return None
        engine = self._fleet.engines.get(name)
        if engine is None:
            raise refusals.unknown_deployment(name)
        if engine.hopeless:
            raise refusals.no_engine(f"deployment {name} was given up: its log says why")
        return engine

    async def _wait(self, *, until: float) -> None:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise refusals.no_engine(f"no deployment got ready in {self._fleet.patience_s:g} s")
        with contextlib.suppress(TimeoutError):  # looked at again even so: its connection was lost, and it did not die
            await self._fleet.change(within_s=min(left_s, _LOOK_AGAIN_S))

    async def _ask(self, engine: Engine, request: web.Request, *, body: bytes | None) -> web.StreamResponse:
        limits = engine.settings
        limit_s = limits.max_queue_wait_s + limits.request_timeout_s + _MARGIN_S
        with engine.answering():
            response = await exchange(self._session, request, url=engine.url, body=body, limit_s=limit_s)
        self._counts.answered[engine.name, response.status] += 1
        return response
