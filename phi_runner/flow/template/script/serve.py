"""Serve the flow over HTTP: `/score` as Prompt flow serves it, streamed to who accepts `text/event-stream`."""

import argparse
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any

import anyio
import uvicorn
from endpoint import EndpointFailed
from flow import Conversation
from settings import SETTINGS
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from turns import LONGEST_BODY, SWAGGER, Refused, asked_in

PASSED_ON = {408, 413, 422, 429}
"""Refusals of the endpoint that are for whoever asks; any other is the flow's own trouble."""
BAD_GATEWAY = 502


def _error(status: int, words: str, *, headers: dict[str, str] | None = None) -> JSONResponse:
    code = "UserError" if status < 500 else "SystemError"
    return JSONResponse({"error": {"code": code, "message": words}}, status, headers)


def _failed(err: EndpointFailed) -> JSONResponse:
    status = err.status if err.status in PASSED_ON or err.status >= 500 else BAD_GATEWAY
    return _error(status, str(err), headers={"Retry-After": err.retry_after} if err.retry_after else None)


async def _while_there(request: Request, work: Awaitable[str]) -> str:
    """Return what the work does; a client that hangs up ends it, so that the endpoint stops writing for nobody."""
    done: list[str] = []
    failed: list[EndpointFailed] = []
    async with anyio.create_task_group() as group:

        async def do() -> None:
            try:
                done.append(await work)
            except EndpointFailed as err:  # as it is: the group would wrap it
                failed.append(err)
            group.cancel_scope.cancel()

        group.start_soon(do)
        while (await request.receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()
    if failed:
        raise failed[0]
    return "".join(done)


async def _joined(pieces: Any) -> str:
    async with aclosing(pieces):
        return "".join([piece async for piece in pieces])


async def _body(request: Request) -> bytes:
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > LONGEST_BODY:
            raise Refused(413, f"the body is longer than {LONGEST_BODY} bytes")
    return data


async def score(request: Request) -> Response:
    """Answer `{"input_data": "..", "chat_history": [..]}` with `{"answer": ".."}`, or piece by piece."""
    try:
        question, history = asked_in(await _body(request), request.headers.get("content-type", ""))
    except Refused as err:
        return _error(err.status, str(err))
    pieces = Conversation(history).ask(question)
    if "text/event-stream" in request.headers.get("accept", ""):
        return await _streamed(pieces, request)
    return JSONResponse({"answer": await _while_there(request, _joined(pieces))})


async def _streamed(pieces: Any, request: Request) -> Response:
    """Begin the stream with the first piece at hand: what fails before it still has a status of its own."""
    first = await _while_there(request, anext(pieces, ""))

    async def events() -> AsyncIterator[str]:
        yield _event({"answer": first})
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield _event({"answer": piece})
        except EndpointFailed as err:
            yield _event({"error": {"code": "SystemError", "message": str(err)}})

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values)}\n\n"


async def health(_request: Request) -> Response:
    """Say that the flow is up."""
    return JSONResponse({"status": "Healthy", "flow": SETTINGS["name"]})


async def swagger(_request: Request) -> Response:
    """Describe `/score`."""
    return JSONResponse(SWAGGER)


async def _refused(_request: Request, err: Any) -> Response:
    return _error(err.status_code, str(err.detail), headers=err.headers)


async def _no_answer(_request: Request, err: Any) -> Response:
    return _failed(err)


APP = Starlette(
    routes=[
        Route("/score", score, methods=["POST"]),
        Route("/health", health),
        Route("/swagger.json", swagger),
    ],
    exception_handlers={HTTPException: _refused, EndpointFailed: _no_answer},
)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    chosen = parser.parse_args()
    uvicorn.run(APP, host=chosen.host, port=chosen.port, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()
