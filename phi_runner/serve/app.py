"""The routes: the two tutorial bodies on `/score`, OpenAI's `/v1`, and health."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from phi_runner import __version__
from phi_runner.serve import refusals
from phi_runner.serve.bodies import ChatRequest, Message, ScoreRequest
from phi_runner.serve.chat import CompletionStream, completion
from phi_runner.serve.guard import Guard
from phi_runner.serve.refusals import Refusal
from phi_runner.serve.service import Question, Service


def build(service: Service, *, key: str) -> FastAPI:
    """Return the application; its pages of documentation are off, they load scripts from the internet."""
    app = FastAPI(title="phi_runner endpoint", version=__version__, docs_url=None, redoc_url=None)
    app.state.service = service
    app.add_middleware(Guard, key=key)
    app.add_exception_handler(Refusal, refusals.on_refusal)
    app.add_exception_handler(RequestValidationError, refusals.on_invalid_body)
    app.add_exception_handler(HTTPException, refusals.on_http_problem)
    app.add_exception_handler(Exception, refusals.on_crash)
    app.add_api_route("/health/live", live, methods=["GET"])
    app.add_api_route("/health/ready", ready, methods=["GET"])
    app.add_api_route("/score", score, methods=["POST"])
    app.add_api_route("/v1/chat/completions", chat_completions, methods=["POST"])
    app.add_api_route("/v1/models", models, methods=["GET"])
    return app


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(_service)]


async def live() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "live"}


async def ready(service: Serving) -> dict[str, str]:
    """Say whether the model is loaded: 503 until it is."""
    service.loaded()
    return {"status": "ready"}


async def models(service: Serving) -> dict[str, Any]:
    """Name the model; `fingerprint` changes with anything that is served or how."""
    settings = service.settings
    model = {
        "id": settings.label, "object": "model", "created": 0, "owned_by": "phi_runner",
        "template_hash": settings.template_hash, "fingerprint": settings.fingerprint(),
    }  # fmt: skip
    return {"object": "list", "data": [model]}


async def score(request: Request, body: ScoreRequest, service: Serving) -> Response:
    """Answer texts with a list of texts, a dialogue with `{"output": text}`."""
    field, asked = body.asked()
    place, parameters = body.parameters()
    sampling = parameters.sampling(default_tokens=service.settings.max_new_tokens)
    limit = f"{place}.max_new_tokens"
    dialogue = [message.plain() for message in asked if isinstance(message, Message)]
    if dialogue:
        names = [f"{field}[{turn}].content" for turn in range(len(dialogue))]
        question = await service.question(dialogue, sampling=sampling, fields=names, whole=field, limit=limit)
        [(text, _finished)] = await service.answers(request, [question])
        return JSONResponse({"output": text})
    texts = [text for text in asked if isinstance(text, str)]
    questions = []
    for turn, text in enumerate(texts):
        name, messages = f"{field}[{turn}]", [{"role": "user", "content": text}]
        questions.append(await service.question(messages, sampling=sampling, fields=[name], whole=name, limit=limit))
    answers = [text for text, _finished in await service.answers(request, questions)]
    if parameters.return_full_text:
        answers = [given + answer for given, answer in zip(texts, answers, strict=True)]
    return JSONResponse(answers)


async def chat_completions(request: Request, body: ChatRequest, service: Serving) -> Response:
    """Answer a dialogue as OpenAI does, whole or as a stream."""
    settings = service.settings
    known = {settings.label, settings.label.partition("/")[0], settings.name, ""}
    if body.model not in known:
        raise Refusal(404, f"model: there is only {settings.label} here", kind="model_not_found", param="model")
    question = await _chat_question(body, service)
    if body.stream:
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        slot = await service.take_slot(request)
        return CompletionStream(slot, question, model=settings.label, include_usage=include_usage)
    [(text, finished)] = await service.answers(request, [question])
    return JSONResponse(completion(text, finished, model=settings.label))


async def _chat_question(body: ChatRequest, service: Service) -> Question:
    return await service.question(
        [message.plain() for message in body.messages],
        sampling=body.sampling(default_tokens=service.settings.max_new_tokens), stops=body.stops(),
        fields=[f"messages[{turn}].content" for turn in range(len(body.messages))], whole="messages",
        limit=body.limit()[0],
    )  # fmt: skip
