"""A server that takes vLLM's command line and speaks its `/v1/completions`, in front of words instead of a model.

The fields, the chunks and the errors are those of vLLM 0.33.0 (vllm/entrypoints/openai/completion/protocol.py and
serving.py). What it says: the prompt's own plain tokens, then the first stop token; or, told `--say=generate`, what
transformers' `generate` does.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel, ConfigDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tokenizers import Tokenizer

ROOM = 300
"""The context that its memory has room for."""


class CompletionRequest(BaseModel):
    """What may be asked, of what vLLM 0.33.0 knows; anything else is a mistake of the one who asks."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str
    prompt: list[int]
    add_special_tokens: bool = True
    max_tokens: int | None = 16
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop_token_ids: list[int] | None = []
    ignore_eos: bool = False
    stream: bool | None = False
    return_token_ids: bool | None = None


class Words:
    """Says the prompt's plain tokens and stops."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._special = set(self.tokenizer.get_added_tokens_decoder())

    def say(self, asked: CompletionRequest) -> Iterator[int]:
        """Yield an answer's tokens."""
        yield from [token for token in asked.prompt if token not in self._special][: asked.max_tokens]
        yield (asked.stop_token_ids or [])[0]


class Generate(Words):
    """Says what `generate` does."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM

        super().__init__(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def say(self, asked: CompletionRequest) -> Iterator[int]:
        """Yield the greedy answer's tokens."""
        import torch
        from transformers import GenerationConfig

        stops = asked.stop_token_ids or []
        plain = GenerationConfig(
            do_sample=False, max_new_tokens=asked.max_tokens, eos_token_id=stops, pad_token_id=stops[0]
        )
        ids = torch.tensor([asked.prompt])
        said = self._model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=plain)
        yield from said[0, len(asked.prompt) :].tolist()


def application(words: Words, told: argparse.Namespace) -> Starlette:
    """Return the routes; `/stats` is the tests' own."""
    stats: dict[str, Any] = {"hung_up": 0, "asked": []}

    async def completions(request: Request) -> Response:
        asked = CompletionRequest.model_validate_json(await request.body())
        stats["asked"].append(asked.model_dump())
        assert asked.model == told.served_model_name
        if told.faults == "refuse":
            error = {"message": "max_tokens is too large: 9.", "type": "BadRequestError", "param": None, "code": 400}
            return JSONResponse({"error": error}, 400)
        return StreamingResponse(counted(asked), media_type="text/event-stream")

    async def counted(asked: CompletionRequest) -> AsyncIterator[str]:
        ended = False
        try:
            async for chunk in chunks(words.say(asked), asked=asked, told=told):
                yield chunk
            ended = True
        finally:
            stats["hung_up"] += not ended

    async def models(_request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": told.served_model_name, "max_model_len": ROOM}]})

    return Starlette(
        routes=[
            Route("/health", lambda _request: Response()),
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/stats", lambda _request: JSONResponse({**stats, "told": vars(told)})),
        ]
    )


async def chunks(said: Iterator[int], *, asked: CompletionRequest, told: argparse.Namespace) -> AsyncIterator[str]:
    """Yield the stream's events."""
    for count, token in enumerate(said, 1):
        yield chunk_of(token, count=count, asked=asked, prompt=asked.prompt + [7] * (told.faults == "other-prompt"))
        if told.faults == "die" and count == 2:
            os._exit(9)
        if told.faults == "break" and count == 2:
            error = {"message": "Internal server error", "type": "InternalServerError", "param": None, "code": 500}
            yield f"data: {json.dumps({'error': error})}\n\n"
            break
        await asyncio.sleep(told.pause_s)
        if reason_of(token, count=count, asked=asked):
            break
    yield "data: [DONE]\n\n"


def reason_of(token: int, *, count: int, asked: CompletionRequest) -> str | None:
    """Say why an answer ends with this token, or None."""
    if token in (asked.stop_token_ids or ()):
        return "stop"
    return "length" if count == asked.max_tokens else None


def chunk_of(token: int, *, count: int, asked: CompletionRequest, prompt: list[int]) -> str:
    """Return the event of one token, with a comment behind it, as the server sends to keep proxies patient."""
    reason = reason_of(token, count=count, asked=asked)
    choice = {
        "index": 0, "text": "\u2028 made by vLLM", "logprobs": None, "finish_reason": reason,
        "stop_reason": token if reason == "stop" else None,
        "prompt_token_ids": prompt if count == 1 and asked.return_token_ids else None,
        "token_ids": [token] if asked.return_token_ids else None,
    }  # fmt: skip
    body = {"id": "cmpl-1", "object": "text_completion", "created": int(time.time()), "model": asked.model}
    return f"data: {json.dumps({**body, 'choices': [choice]}, ensure_ascii=False)}\n\n: keep-alive\n\n"


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--uds")
    parser.add_argument("--served-model-name")
    parser.add_argument("--max-model-len")
    parser.add_argument("--max-num-seqs", type=int)
    parser.add_argument("--generation-config")
    parser.add_argument("--say", default="words")
    parser.add_argument("--faults", default="")
    parser.add_argument("--pause-s", type=float, default=0.0)
    told = parser.parse_args()
    if told.faults == "no-start":
        raise ValueError("No available memory for the cache blocks")
    words = (Generate if told.say == "generate" else Words)(Path(told.model))
    uvicorn.run(application(words, told), uds=told.uds, log_level="warning")


if __name__ == "__main__":
    main()
