"""Clients that never stop asking, and which version of the model answered each of their requests."""

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.serving.http import BrokenOff, Connection, post

_PATIENCE_S = 120.0
_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One request that has come to its end."""

    at: float
    """By the monotonic clock."""
    seconds: float
    version: str
    """What the answer says that it comes from."""
    stream: bool
    problem: str = ""


@dataclass(slots=True, kw_only=True)
class Load:
    """Some clients in a thread of their own for the length of a block; every other request is a stream."""

    url: str
    key: str
    prompts: Sequence[str]
    clients: int
    answered: list[Answered] = field(default_factory=list)
    _enough: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Load":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), name="clients")
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._enough.set()
        if self._thread:
            self._thread.join()

    def between(self, begun: float, ended: float) -> list[Answered]:
        """Return the requests that ended between two times."""
        return [one for one in self.answered if begun <= one.at < ended]

    async def _all(self) -> None:
        prompts, numbers = itertools.cycle(self.prompts), itertools.count()

        async def client() -> None:
            while not self._enough.is_set():
                self.answered.append(await self._one(next(prompts), stream=next(numbers) % 2 == 0))

        await asyncio.gather(*(client() for _ in range(self.clients)))

    async def _one(self, prompt: str, *, stream: bool) -> Answered:
        begun, version, problem = time.monotonic(), "", ""
        body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": _TOKENS, "stream": stream}
        try:
            async with asyncio.timeout(_PATIENCE_S), Connection(self.url) as connection:
                await connection.send(post("/v1/chat/completions", body, key=self.key))
                response = await connection.response()
                if response.status != 200:
                    problem = f"HTTP {response.status} {(await response.whole())[:200]!r}"
                elif stream:
                    version, problem = _read([event async for event in response.events()])
                else:
                    version = json.loads(await response.whole())["model"]
        except (OSError, BrokenOff, ValueError, KeyError) as err:
            problem = f"{type(err).__name__} {err}"
        now = time.monotonic()
        return Answered(at=now, seconds=now - begun, version=version, stream=stream, problem=problem)


def _read(events: Sequence[str]) -> tuple[str, str]:
    """Return the version that a whole stream names, and what is wrong with the stream."""
    said = [json.loads(event) for event in events if event != "[DONE]"]
    versions = Counter(event["model"] for event in said if "model" in event)
    faults = [str(event["error"]) for event in said if "error" in event]
    if not faults and events[-1:] != ["[DONE]"]:
        faults = ["a stream without an end"]
    if len(versions) > 1:
        faults.append(f"one stream of several versions: {sorted(versions)}")
    return next(iter(versions), ""), "; ".join(faults)
