"""OpenAI's chat completions: one JSON answer, or a stream of server-sent events."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from phi_runner.model.answering import Finished
from phi_runner.serve.answers import Answer
from phi_runner.serve.refusals import REFUSED, Refusal


def _usage(finished: Finished) -> dict[str, int]:
    return {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
    }


def _head(*, kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def completion(text: str, finished: Finished, *, model: str) -> dict[str, Any]:
    """Return a whole answer as OpenAI's `chat.completion`."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finished.reason, "logprobs": None}
    return {**_head(kind="chat.completion", model=model), "choices": [choice], "usage": _usage(finished)}


class CompletionStream(StreamingResponse):
    """An answer as server-sent events; it ends when the client hangs up."""

    def __init__(self, answer: Answer, text: AsyncIterator[str | Finished], *, model: str, include_usage: bool) -> None:
        self._answer = answer
        self._model = model
        self._include_usage = include_usage
        self._refused = "client_gone"
        super().__init__(self._events(text), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.leave()
            scope[REFUSED] = self._refused

    async def _events(self, text: AsyncIterator[str | Finished]) -> AsyncIterator[str]:
        head = _head(kind="chat.completion.chunk", model=self._model)
        usage = {"usage": None} if self._include_usage else {}

        def chunk(delta: dict[str, str], *, reason: str | None = None) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
            return _event({**head, "choices": [choice], **usage})

        yield chunk({"role": "assistant", "content": ""})
        try:
            async for piece in text:
                if isinstance(piece, str):
                    yield chunk({"content": piece})
                    continue
                yield chunk({}, reason=piece.reason)
                if self._include_usage:
                    yield _event({**head, "choices": [], "usage": _usage(piece)})
        except Refusal as refusal:  # the status line is sent: the only place left to say so is the stream
            self._refused = refusal.kind
            yield _event(refusal.body())
            return
        self._refused = ""
        yield "data: [DONE]\n\n"


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
