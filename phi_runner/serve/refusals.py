"""Every way in which the endpoint says no: a status and one JSON body that names the field and the limit."""

from http import HTTPStatus

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from phi_runner.serve import refusal

CLIENT_GONE = 499
"""nginx's status for a client that hung up; nobody reads it but the log."""
REFUSED = "phi_runner.refused"
"""Where a request's scope holds the kind of its refusal, for the log and the metrics."""
_LONGEST_NAME = 100


class Refusal(refusal.Refusal):
    """A request that the engine does not answer."""

    def response(self, scope: Scope) -> JSONResponse:
        """Return the whole answer to a request, and note in its scope that it is one."""
        scope[REFUSED] = self.kind
        return JSONResponse(self.body(), status_code=self.status, headers=self.headers)


def invalid(param: str, message: str) -> Refusal:
    """Return the refusal of a field."""
    return Refusal(422, f"{param}: {message}", kind="invalid_request_error", param=param)


def shown(name: str) -> str:
    """Return a field's name as it may be said back: a client can send one that is endless, or no text."""
    return name[:_LONGEST_NAME].encode("utf-8", "backslashreplace").decode()


async def on_refusal(request: Request, err: Exception) -> Response:
    """Answer what our own code refuses."""
    assert isinstance(err, Refusal)  # noqa: S101 - registered for this class
    return err.response(request.scope)


async def on_invalid_body(request: Request, err: Exception) -> Response:
    """Answer a body that does not have the documented shape, by its first fault."""
    assert isinstance(err, RequestValidationError)  # noqa: S101 - registered for this class
    fault = err.errors()[0]
    param = path_of(fault["loc"])
    if not param:
        found = Refusal(422, "the body must be a JSON object", kind="invalid_request_error")
    else:
        message = "this endpoint does not know it" if fault["type"] == "extra_forbidden" else str(fault["msg"])
        found = invalid(param, message.removeprefix("Value error, "))
    return found.response(request.scope)


async def on_http_problem(request: Request, err: Exception) -> Response:
    """Answer what the framework refuses: unknown paths and wrong methods."""
    assert isinstance(err, HTTPException)  # noqa: S101 - registered for this class
    kind = HTTPStatus(err.status_code).phrase.lower().replace(" ", "_")
    return Refusal(err.status_code, str(err.detail), kind=kind, headers=err.headers).response(request.scope)


async def on_crash(request: Request, _err: Exception) -> Response:
    """Answer when our own code fails; what happened stands in the log."""
    closing = {"Connection": "close"}  # uvicorn drops the connection: the client should not send on it again
    failed = Refusal(500, "the endpoint failed; its log says why", kind="server_error", headers=closing)
    return failed.response(request.scope)


def path_of(location: tuple[str | int, ...]) -> str:
    """Spell a fault's place as a client would: `messages[0].role`. Names of union branches, in <>, are left out."""
    path = ""
    for part in location[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (part.startswith("<") and part.endswith(">")):
            path += f".{shown(part)}" if path else shown(part)
    return path
