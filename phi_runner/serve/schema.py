"""The document that describes the endpoint (OpenAPI 3.1): exactly what is taken, and every refusal."""

from typing import Any, Final

from fastapi import FastAPI

from phi_runner.serve.fields import INT64
from phi_runner.serve.replies import Completion, Health, Model, ModelList, Output, Problem
from phi_runner.serve.service import Service

DESCRIPTION = (
    "A chat model behind one contract. `/score` takes the two bodies of Azure Machine Learning, "
    "`/v1/chat/completions` OpenAI's. What a schema cannot say: no text holds "
    "one of the model's control tokens (such as `<|end|>`); prompt and answer together fit into the model's context."
)
_MEANINGS: Final = {
    400: "The body is no JSON.",
    401: "The key is missing or wrong.",
    404: "There is no such model.",
    408: "The body took too long to arrive, or the answer to be made.",
    413: "The body is too long, or the prompt for the model's context.",
    415: "The body is not sent as JSON.",
    422: "A field is unknown, has the wrong type or is out of its range.",
    429: "Too many requests wait already, or this one has waited too long; come again after `Retry-After` seconds.",
    500: "The engine or the endpoint failed.",
    503: "The model is being loaded, or the endpoint is ending.",
}
_ASKED: Final = (400, 401, 408, 413, 415, 422, 429, 500, 503)
_READ: Final = (401, 408, 413, 503)
_LATER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
_UNLIMITED = 10**6
_LENGTHS = (("ScoreParams", "max_new_tokens"), ("ChatRequest", "max_tokens"), ("ChatRequest", "max_completion_tokens"))


def _route(answer: dict[str, Any], *, refusals: tuple[int, ...], **options: Any) -> dict[str, Any]:
    """Return what FastAPI is to write about a route."""
    refused = {status: _refusal(status) for status in refusals}
    return {"responses": {200: answer, **refused}, "response_model": None, **options}


def _refusal(status: int) -> dict[str, Any]:
    headers = {"headers": _LATER} if status == 429 else {}
    return {"description": _MEANINGS[status], "model": Problem, **headers}


_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}
_EVENT = {
    "type": "object",
    "properties": {"data": {"type": "string", "description": "A `chat.completion.chunk`, an error, or `[DONE]`."}},
    "required": ["data"],
}
_EVENTS = {"content": {"text/event-stream": {"itemSchema": _EVENT}}}


LIVE = _route({"model": Health}, refusals=(408, 413))
READY = _route({"model": Health}, refusals=(408, 413, 503))
METRICS = _route({"description": "Counters.", **_TEXT}, refusals=(401, 408, 413))
MODELS = _route({"model": ModelList}, refusals=_READ)
MODEL = _route({"model": Model}, refusals=(*_READ, 404, 422))
SCORE = _route({"model": list[str] | Output, "description": "One text per text, or `output`."}, refusals=_ASKED)
CHAT = _route(
    {"model": Completion, "description": "The answer, or with `stream` its pieces.", **_EVENTS},
    refusals=(*_ASKED, 404),
)


def document(app: FastAPI, service: Service) -> dict[str, Any]:
    """Return the document; once the model is loaded it names the longest answer that its context allows."""
    if app.openapi_schema is None:
        app.openapi_schema = _with_keys(FastAPI.openapi(app))
        _exact(app.openapi_schema["components"]["schemas"])
        [path] = app.openapi_schema["paths"]["/v1/models/{model}"]["get"]["parameters"]
        path["schema"]["enum"] = [name for name in service.names if name]
    shapes = app.openapi_schema["components"]["schemas"]
    longest = service.engine.context - 1 if service.engine else _UNLIMITED
    for shape, field in _LENGTHS:
        shapes[shape]["properties"][field]["anyOf"][0]["maximum"] = longest
    shapes["ChatRequest"]["properties"]["model"]["enum"] = service.names
    return app.openapi_schema


def _exact(shapes: dict[str, Any]) -> None:
    """Say the bounds of a seed as whole numbers: FastAPI writes them as floats, which cannot hold 2**63 - 1."""
    for shape in ("ScoreParams", "ChatRequest"):
        shapes[shape]["properties"]["seed"]["anyOf"][0] = {"type": "integer", "minimum": -INT64, "maximum": INT64 - 1}


def _with_keys(document: dict[str, Any]) -> dict[str, Any]:
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "api-key"},
    }
    paths = {
        path: {method: {**operation, "security": _security(path)} for method, operation in item.items()}
        for path, item in document["paths"].items()
    }
    components = {**document["components"], "securitySchemes": schemes}
    return {**document, "paths": paths, "components": components}


def _security(path: str) -> list[dict[str, list[str]]]:
    return [] if path.startswith("/health/") else [{"bearer": []}, {"header": []}]
