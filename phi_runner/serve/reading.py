"""How a request's body becomes JSON, more strictly than Python's own parser: UTF-8, no field given twice."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from phi_runner.serve.refusals import Refusal, shown

_JSON = "application/json"


class JsonRoute(APIRoute):
    """A route whose body, where it has one, is read by `parsed`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler behind our reading."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def strictly(request: Request) -> Response:
            read = JsonRequest(request.scope, request.receive)
            await read.parse()
            return await handle(read)

        return strictly


class JsonRequest(Request):
    """A request that knows its body."""

    async def parse(self) -> None:
        """Read the body; raises Refusal 400 or 415."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _JSON and not (kind.startswith("application/") and kind.endswith("+json")):
            raise Refusal(
                415, f"the body must be a JSON object, sent with Content-Type: {_JSON}", kind="unsupported_media_type"
            )
        body = await self.body()
        self._parsed = parsed(body) if body else None

    async def json(self) -> Any:
        """Return the body."""
        return self._parsed


def parsed(body: bytes) -> Any:
    """Return the JSON in a body; raises Refusal 400 where a client and we could read it differently, or not at all."""
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_distinct)
    except UnicodeDecodeError as err:
        reason = f"byte {err.start} is no UTF-8"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as err:  # also Python's limit on the digits of a number
        reason = str(err)
    raise Refusal(400, f"the body is not JSON: {reason}", kind="invalid_json")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        raise Refusal(400, "a field's name holds half of a surrogate pair", kind="invalid_json") from None
    if len(fields) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _value in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Refusal(400, f"{shown(twice)}: given twice", kind="invalid_json", param=shown(twice))
    return fields
