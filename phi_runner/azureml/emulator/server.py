"""The emulator's server: every host on one TLS port, one thread per call, the services asked in their order."""

import asyncio
import json
import ssl
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from phi_runner.azureml.emulator import (
    arm,
    assets,
    compute,
    connections,
    deployments,
    endpoints,
    history,
    jobs,
    registries,
    scoring,
    signin,
    workspaces,
)
from phi_runner.azureml.emulator.answers import ARM_HOST, error
from phi_runner.azureml.emulator.cloud import Call, Cloud
from phi_runner.azureml.emulator.faults import Admin, Fault, Faults
from phi_runner.azureml.emulator.proxy import BLOB_HOST
from phi_runner.azureml.emulator.settings import ADMIN_HOST
from phi_runner.azureml.emulator.wire import Wire

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from phi_runner.azureml.emulator.blob_service import BlobService

Service = Callable[[Cloud, Call], Response | None]
_THREADS = 64
"""Many calls wait: for a model's answer, for an injected delay."""
_SERVICES: tuple[Service, ...] = (
    scoring.handle, registries.handle, workspaces.handle, compute.handle, connections.handle, assets.handle,
    jobs.handle, history.handle, endpoints.handle, deployments.handle, arm.handle,
)  # fmt: skip
"""In the order in which they are asked: workspaces end calls below one that is missing, arm takes what is left."""
_OPEN_PATHS = ("/discovery", "/ml/discovery")


class Front:
    """The ASGI application: faults first, then blobs or the control plane, then the wire log."""

    def __init__(self, cloud: Cloud, *, wire: Wire, faults: Faults, admin: Admin, blobs: "BlobService | None") -> None:
        self._cloud, self._wire, self._faults, self._blobs = cloud, wire, faults, blobs
        self._services: list[Service] = [signin.handle, admin.handle, *_SERVICES]
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="call")

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one call."""
        request = Request(scope, receive)
        host = request.headers.get("host", "").split(":")[0].lower()
        fault = None
        if host != ADMIN_HOST:
            agent = request.headers.get("user-agent", "")
            fault = self._faults.meet(method=request.method, host=host, path=scope["path"], agent=agent)
        if fault and fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        try:
            if self._blobs and BLOB_HOST.fullmatch(host):
                response = await self._blob(request, host=host, fault=fault)
            else:
                response = await self._control(request, host=host, fault=fault)
        except ClientDisconnect:
            return
        if response is None:
            await _hang_up(scope, receive)
        else:
            await response(scope, receive, _quiet(send))

    async def _blob(self, request: Request, *, host: str, fault: Fault | None) -> Response | None:
        response = fault.answer() if fault else None
        if self._blobs and response is None and (fault is None or fault.handles):
            response = await self._blobs.answer(request, account=host.split(".")[0])
        lost = fault is not None and fault.silent
        if fault:
            fault.kill()
        status = response.status_code if response and not lost else 0
        self._wire.write_blob(method=request.method, host=host, path=request.url.path, status=status)
        return None if lost else response

    async def _control(self, request: Request, *, host: str, fault: Fault | None) -> Response | None:
        call = await _read(request, host=host)
        response: Response | None = None
        try:
            response = fault.answer() if fault else None
            if response is None and (fault is None or fault.handles):
                loop = asyncio.get_running_loop()
                response = await loop.run_in_executor(self._threads, self.answer, call)
        finally:
            if fault and fault.silent:
                fault.kill()
                response = None
            if host != ADMIN_HOST:
                status = response.status_code if response else 0
                self._wire.write(call, status=status, answer=bytes(response.body) if response else b"")
        if response:
            response.headers.setdefault("x-ms-request-id", str(uuid.uuid4()))
        return response

    def answer(self, call: Call) -> Response:
        """Answer a call to the control plane, to sign-in or to an endpoint."""
        self._cloud.settle()
        if _behind_sign_in(call):  # what a model makes of a body is the model's matter
            if call.raw and not call.body and "json" in call.headers.get("content-type", "") and not _is_json(call.raw):
                said = "The request content was invalid and could not be deserialized."
                return error(400, "InvalidRequestContent", said)
            if refusal := signin.challenge(self._cloud, call):
                return refusal
        for service in self._services:
            if (response := service(self._cloud, call)) is not None:
                return response
        return error(404, "NotFound", f"{call.method} {call.host}{call.path} is not emulated.")


def _behind_sign_in(call: Call) -> bool:
    if call.host.endswith(".api.azureml.ms"):
        return not (call.low in _OPEN_PATHS or call.low.endswith("/workspaces/discovery"))
    return call.host in (ARM_HOST, "ml.azure.com")


async def _read(request: Request, *, host: str) -> Call:
    raw = await request.body()
    body: Any = {}
    if raw and "form" not in request.headers.get("content-type", ""):
        body = json.loads(raw) if _is_json(raw) else {}
    return Call(
        method=request.method, host=host, path=request.scope["path"], query=dict(request.query_params),
        headers=dict(request.headers), body=body if isinstance(body, dict) else {}, raw=raw,
    )  # fmt: skip


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except ValueError:
        return False
    return True


def _quiet(send: "Send") -> "Send":
    """Return `send` for a client that may be gone: nobody is left to be told."""

    async def send_quietly(message: "Message") -> None:
        try:
            await send(message)
        except (ConnectionError, OSError):
            return

    return send_quietly


class _Protocol(H11Protocol):
    """HTTP/1.1 that shows the application its connection, so that it can be cut."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "connection": transport}

    def shutdown(self) -> None:
        """Cut an idle connection: clients that keep one open for later do not answer a polite end."""
        super().shutdown()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


async def _hang_up(scope: "Scope", receive: "Receive") -> None:
    """Cut the connection without an answer."""
    scope["state"]["connection"].abort()
    while (await receive())["type"] != "http.disconnect":
        pass


class Server(uvicorn.Server):
    """uvicorn with our certificates; `on_ready` is called with its port when it listens."""

    def __init__(self, front: Front, *, context: ssl.SSLContext, on_ready: Callable[[int], None]) -> None:
        config = uvicorn.Config(
            front, host="127.0.0.1", port=0, http=_Protocol, ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, timeout_graceful_shutdown=2, timeout_keep_alive=60,
            ssl_context_factory=lambda _config, _default: context,
        )  # fmt: skip
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: Any = None) -> None:
        """Start as uvicorn does, then say so."""
        await super().startup(sockets)
        self._on_ready(self.servers[0].sockets[0].getsockname()[1])
