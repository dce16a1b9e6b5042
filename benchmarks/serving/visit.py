"""One client with one request: does what its case says, and tells what became of it."""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.serving.cases import Case, Manner
from benchmarks.serving.http import BrokenOff, Connection, Response
from benchmarks.serving.model import Reference

PATIENCE_S = 400.0
"""Longer than queue and answer may take: who waits so long and gets nothing has been lost."""
_SLOW_PIECES = 8
_SLOW_PAUSE_S = 0.15
_COME_AGAIN = {429, 503}
_MARKS = (b'"choices"', b'"output"', b'"delta"', b"data:")
"""What only an answer's bytes hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request."""

    kind: str
    what: str
    """A status, `200, ended by an error event`, `hung up on purpose`, or why it was lost."""
    seconds: float
    status: int = 0
    lost: bool = False
    leaked: bool = False
    """Somebody without the key got a piece of an answer."""
    wrong: bool = False
    """It was answered with another text than `generate` gives."""


async def visit(case: Case, *, url: str, references: Mapping[str, Reference]) -> Outcome:
    """Make one request, wait for its end."""
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_S), Connection(url, narrow=case.manner is Manner.slow_reader) as connection:
            found = await _act(case, connection, references)
    except (OSError, BrokenOff, ValueError) as err:  # TimeoutError is an OSError
        found = {"what": f"lost: {type(err).__name__} {err}"[:80], "lost": True}
    return Outcome(kind=case.kind, seconds=time.perf_counter() - begun, **found)


async def _act(case: Case, connection: Connection, references: Mapping[str, Reference]) -> dict[str, Any]:
    if case.manner is Manner.gone_half_sent:
        await connection.send_part(case.request)
        return {"what": "hung up on purpose"}
    pieces = _SLOW_PIECES if case.manner is Manner.slow_sender else 1
    # a server may refuse a body before it has come: whoever only writes then would not hear it
    sending = asyncio.create_task(connection.send(case.request, pieces=pieces, pause_s=_SLOW_PAUSE_S))
    try:
        if case.manner is Manner.gone_before:
            await asyncio.sleep(random.random())
            return {"what": "hung up on purpose"}
        return await _read(case, await connection.response(), references)
    finally:
        sending.cancel()


async def _read(case: Case, response: Response, references: Mapping[str, Reference]) -> dict[str, Any]:
    streamed = response.headers.get("content-type", "").startswith("text/event-stream")
    found: dict[str, Any] = {"what": str(response.status), "status": response.status}
    if response.status in _COME_AGAIN and "retry-after" not in response.headers:
        found["what"] = f"{response.status} without Retry-After"
    if streamed:
        text, end = await _read_events(case, response)
        if end == "lost":
            raise BrokenOff("a stream without an end")
        found["what"] = {"done": "200", "error": "200, ended by an error event"}.get(end, end)
        whole = end == "done"
    else:
        body = await response.whole()
        text, whole = _text(body) if response.status == 200 and case.prompt else "", response.status == 200
    if case.stranger:
        found["leaked"] = response.status == 200 or any(mark in response.seen for mark in _MARKS)
    elif case.prompt and whole:
        found["wrong"] = not text or not references[case.prompt].text.startswith(text.rstrip("�"))
    return found


async def _read_events(case: Case, response: Response) -> tuple[str, str]:
    """Return the text of a stream and how it ended: done, error, lost, or hung up on purpose."""
    text, end, seen = "", "lost", 0
    async for event in response.events():
        if event == "[DONE]":
            end = "done"
            continue
        said = json.loads(event)
        if "error" in said:
            end = "error"
        text += "".join(choice["delta"].get("content") or "" for choice in said.get("choices", []))
        seen += 1
        if case.manner is Manner.gone_during and seen > 2:
            return text, "hung up on purpose"
        if case.manner is Manner.slow_reader:
            await asyncio.sleep(_SLOW_PAUSE_S)
    return text, end


def _text(body: bytes) -> str:
    """Return the text of a whole answer on any route; raises ValueError when there is none."""
    said = json.loads(body)
    match said:
        case {"choices": [{"message": {"content": str(text)}}]} | {"output": str(text)} | [str(text)]:
            return text
        case _:
            raise ValueError(f"no answer in {body[:80]!r}")
