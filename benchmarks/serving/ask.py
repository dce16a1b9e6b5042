"""One question to one server in the words it understands, and a number of clients that ask one after the other."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

from benchmarks.serving.http import BrokenOff, Connection, Request, Response, post
from benchmarks.serving.model import NEW_TOKENS

_PATIENCE_S = 300.0


class Dialect(StrEnum):
    """How a server is asked."""

    chat_stream = auto()
    """OpenAI's chat completions, as server-sent events."""
    invocations = auto()
    """MLflow's."""
    score = auto()
    """Azure's."""

    def request(self, text: str, *, key: str) -> Request:
        """Return the request for one user turn; nobody is told a temperature, all choose greedily by themselves."""
        messages = [{"role": "user", "content": text}]
        match self:
            case Dialect.chat_stream:
                body = {"messages": messages, "max_tokens": NEW_TOKENS, "stream": True}
                return post("/v1/chat/completions", body | {"stream_options": {"include_usage": True}}, key=key)
            case Dialect.invocations:
                return post("/invocations", {"messages": messages, "max_tokens": NEW_TOKENS})
            case Dialect.score:
                inside = {"input_string": messages, "parameters": {"max_new_tokens": NEW_TOKENS}}
                return post("/score", {"input_data": inside})


@dataclass(slots=True, kw_only=True)
class Answer:
    """What came back, and when, in seconds since the request was begun."""

    prompt: str
    text: str = ""
    tokens: int | None = None
    """As the server counted them; None where it does not say."""
    first_s: float = 0.0
    """Until the first text; of the whole answer where it comes at once."""
    latency_s: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """All answers to some prompts, and how long they took together."""

    answers: list[Answer]
    seconds: float


async def ask(prompts: Sequence[str], *, url: str, dialect: Dialect, key: str, clients: int) -> Asked:
    """Let `clients` ask at a time, each its next prompt as soon as its answer is whole."""
    waiting, answers = iter(prompts), []

    async def client() -> None:
        for prompt in waiting:
            answers.append(await _one(prompt, url=url, dialect=dialect, key=key))

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Asked(answers=answers, seconds=time.perf_counter() - begun)


async def _one(prompt: str, *, url: str, dialect: Dialect, key: str) -> Answer:
    answer, begun = Answer(prompt=prompt), time.perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE_S), Connection(url) as connection:
            await connection.send(dialect.request(prompt, key=key))
            response = await connection.response()
            if response.status != 200:
                said = (await response.whole()).decode(errors="replace")
                answer.problem = f"HTTP {response.status}: {said[:200]}"
            elif dialect is Dialect.chat_stream:
                await _read_stream(response, answer, clock=lambda: time.perf_counter() - begun)
            else:
                answer.text, answer.tokens = _said(json.loads(await response.whole()))
    except (OSError, BrokenOff, TimeoutError) as err:
        answer.problem = f"{type(err).__name__}: {err}"
    answer.latency_s = time.perf_counter() - begun
    answer.first_s = answer.first_s or answer.latency_s
    return answer


async def _read_stream(response: Response, answer: Answer, *, clock: Callable[[], float]) -> None:
    async for event in response.events():
        if event == "[DONE]":
            continue
        said = json.loads(event)
        if "error" in said:
            answer.problem = f"error event: {event[:200]}"
        if usage := said.get("usage"):
            answer.tokens = usage["completion_tokens"]
        for choice in said.get("choices", []):
            text = choice["delta"].get("content") or ""
            if text and not answer.text:
                answer.first_s = clock()
            answer.text += text


def _said(body: Any) -> tuple[str, int | None]:
    """Return text and number of tokens of a whole answer: MLflow's list of completions, or Azure's object."""
    if isinstance(body, list):
        return body[0]["choices"][0]["message"]["content"], body[0]["usage"]["completion_tokens"]
    return body["output"], None
