"""The routes: the two tutorial bodies on `/score`, OpenAI's `/v1`, health, metrics, and the document of all this."""

from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_runner import __version__
from phi_runner.serve import metrics, refusals, schema
from phi_runner.serve.answers import Question
from phi_runner.serve.chat import CompletionStream, completion
from phi_runner.serve.chat_body import ChatRequest
from phi_runner.serve.fields import Message
from phi_runner.serve.guard import Guard
from phi_runner.serve.keys import Keys
from phi_runner.serve.reading import JsonRoute
from phi_runner.serve.refusals import Refusal
from phi_runner.serve.score_body import ScoreBody
from phi_runner.serve.service import Service


def build(service: Service, *, keys: Keys) -> FastAPI:
    """Return the application; its pages of documentation are off, they load scripts from the internet."""
    app = FastAPI(
        title="phi_runner endpoint", version=__version__, description=schema.DESCRIPTION, docs_url=None, redoc_url=None,
        openapi_url="/swagger.json",
    )  # fmt: skip
    app.state.service = service
    app.add_exception_handler(Refusal, refusals.on_refusal)
    app.add_exception_handler(RequestValidationError, refusals.on_invalid_body)
    app.add_exception_handler(HTTPException, refusals.on_http_problem)
    app.add_exception_handler(Exception, refusals.on_crash)
    app.router.route_class = JsonRoute
    app.add_api_route("/health/live", live, **schema.LIVE)
    app.add_api_route("/health/ready", ready, **schema.READY)
    app.add_api_route("/metrics", numbers, **schema.METRICS)
    app.add_api_route("/v1/models", models, **schema.MODELS)
    app.add_api_route("/v1/models/{model:path}", model, **schema.MODEL)
    app.add_api_route("/score", score, methods=["POST"], **schema.SCORE)
    app.add_api_route("/v1/chat/completions", chat_completions, methods=["POST"], **schema.CHAT)
    paths = frozenset(route.path for route in app.routes if isinstance(route, Route))
    app.add_middleware(Guard, keys=keys, service=service, paths=paths)
    app.openapi = lambda: schema.document(app, service)  # type: ignore[method-assign]  # FastAPI's way to change it
    return app


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(_service)]


async def live() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "live"}


async def ready(service: Serving) -> dict[str, str]:
    """Say whether the model is loaded: 503 until it is, and again once the endpoint is ending."""
    service.loaded()
    return {"status": "ready"}


async def numbers(service: Serving) -> Response:
    """Return the counters in Prometheus' text form."""
    return Response(service.metrics.text(), headers={"Content-Type": metrics.CONTENT_TYPE})


async def models(service: Serving) -> dict[str, Any]:
    """Name the model; `fingerprint` changes with anything that is served or how."""
    return {"object": "list", "data": [_model(service)]}


async def model(model: str, service: Serving) -> dict[str, Any]:
    """Return the model by any of its names."""
    _known(model, service)
    return _model(service)


def _model(service: Service) -> dict[str, Any]:
    settings = service.settings
    return {
        "id": settings.label, "object": "model", "created": 0, "owned_by": "phi_runner",
        "template_hash": settings.template_hash, "fingerprint": settings.fingerprint(),
    }  # fmt: skip


def _known(name: str, service: Service) -> None:
    if name not in service.names:
        message = f"model: there is only {service.settings.label} here"
        raise Refusal(404, message, kind="model_not_found", param="model")


async def score(request: Request, body: ScoreBody, service: Serving) -> Response:
    """Answer texts with a list of texts, a dialogue with `{"output": text}`."""
    field, asked = body.asked()
    limit, parameters = body.settings()
    sampling = parameters.sampling(default_tokens=service.settings.max_new_tokens)
    ask = partial(service.question, sampling=sampling, limit=limit, total=parameters.total())
    dialogue = [message.plain() for message in asked if isinstance(message, Message)]
    if dialogue:
        names = [f"{field}[{turn}].content" for turn in range(len(dialogue))]
        question = await ask(dialogue, fields=names, whole=field)
        [(text, _finished)] = await service.answers(request, [question])
        return JSONResponse({"output": text})
    texts = [text for text in asked if isinstance(text, str)]
    questions = []
    for turn, text in enumerate(texts):
        name, messages = f"{field}[{turn}]", [{"role": "user", "content": text}]
        questions.append(await ask(messages, fields=[name], whole=name))
    answers = [text for text, _finished in await service.answers(request, questions)]
    if parameters.return_full_text:
        answers = [given + answer for given, answer in zip(texts, answers, strict=True)]
    return JSONResponse(answers)


async def chat_completions(request: Request, body: ChatRequest, service: Serving) -> Response:
    """Answer a dialogue as OpenAI does, whole or as a stream."""
    _known(body.model, service)
    label, question = service.settings.label, await _chat_question(body, service)
    if body.stream:
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        answer, pieces = await service.stream(request, question)
        return CompletionStream(answer, pieces, model=label, include_usage=include_usage)
    [(text, finished)] = await service.answers(request, [question])
    return JSONResponse(completion(text, finished, model=label))


async def _chat_question(body: ChatRequest, service: Service) -> Question:
    service.check_length("max_tokens", body.max_tokens or 0)  # also where the newer field is the one that counts
    return await service.question(
        [message.plain() for message in body.messages],
        sampling=body.sampling(default_tokens=service.settings.max_new_tokens), stops=body.stops(),
        fields=[f"messages[{turn}].content" for turn in range(len(body.messages))], whole="messages",
        limit=body.limit()[0],
    )  # fmt: skip
