"""The conversation with a server on a Unix socket: an event loop in a thread, in which every answer is a task."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from phi_runner.model.answering import EngineFailed, Finish, Finished, Piece

_CONNECT_S = 10.0
_LAST_S = 2.0
"""How long cancelled answers may take to end when all of them are to."""
_Result = TypeVar("_Result")
log = logging.getLogger("phi_runner.serve")


@dataclass(slots=True)
class Telling:
    """One answer's way out: what it says, and how many tokens that was."""

    tell: Callable[[Piece], None]
    prompt_tokens: int
    tokens: int = 0
    """Said so far."""

    def say(self, text: str, *, tokens: int = 0) -> None:
        """Tell more text, which may be none yet, and take note of the tokens that it took."""
        self.tokens += tokens
        if text:
            self.tell(text)

    def end(self, reason: Finish) -> Finished:
        """Return how it ended."""
        return Finished(reason=reason, prompt_tokens=self.prompt_tokens, completion_tokens=self.tokens)


class Exchange:
    """A client of one server; its methods may be called from any thread."""

    def __init__(self, socket: Path, *, name: str) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write a line for every request
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{name}-client", daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[Finished]] = set()
        # one answer holds one connection: the engine's slots are the limit; none is used again, for the server may be
        # closing it in that very moment, and a new one costs nothing on a Unix socket
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self.client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket), limits=limits), base_url="http://upstream",
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
        )  # fmt: skip

    def begin(self, answer: Coroutine[Any, Any, Finished], *, telling: Telling) -> Callable[[], None]:
        """Run an answer, return what cancels it; `telling.tell` gets its end, whatever that is."""

        def launch() -> None:
            task = self._loop.create_task(answer)
            self._tasks.add(task)
            started.append(task)
            task.add_done_callback(ended)

        def ended(task: "asyncio.Task[Finished]") -> None:
            self._tasks.discard(task)
            telling.tell(self._end(task, telling))

        def cancel() -> None:
            for task in started:
                task.cancel()

        started: list[asyncio.Task[Finished]] = []
        self._loop.call_soon_threadsafe(launch)
        return lambda: self._later(cancel)

    def do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do something in the loop and wait for it; not to be called from there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def wait_for_ends(self) -> None:
        """Give running answers a moment to end by themselves."""
        self.do(self._wait(_LAST_S))

    def close(self) -> None:
        """End every answer and the loop."""
        self.do(self._end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _later(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: all has ended
            self._loop.call_soon_threadsafe(work)

    async def _wait(self, timeout_s: float) -> None:
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=timeout_s)

    async def _end_all(self) -> None:
        for _attempt in range(2):  # an answer may take the first request as a wish and the second as an order
            for task in self._tasks:
                task.cancel()
            await self._wait(_LAST_S / 2)
        await self.client.aclose()

    def _end(self, task: "asyncio.Task[Finished]", telling: Telling) -> Piece:
        if task.cancelled():
            return telling.end(Finish.cancelled)
        match task.exception():
            case None:
                return task.result()
            case EngineFailed() as failed:
                return failed
            case httpx.HTTPError() as broken:
                return EngineFailed(f"{self._name} broke off: {broken or type(broken).__name__}")
            case unexpected:
                log.error("an answer of %s could not be read", self._name, exc_info=unexpected)
                return EngineFailed(f"{self._name} answered what was not expected: {unexpected}")
