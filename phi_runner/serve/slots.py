"""How many requests are answered at a time, how long one may wait and take, and the thread that answers it."""

import asyncio
import contextlib
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from phi_runner.model.answering import Engine, Finished, Sampling
from phi_runner.serve.refusals import CLIENT_GONE, Refusal

_Result = TypeVar("_Result")
_LONGEST_RETRY_S = 60


class Slots:
    """The places in which requests are answered; made inside the server's event loop."""

    def __init__(self, count: int, *, max_queue_wait_s: float, request_timeout_s: float) -> None:
        self._free = asyncio.Semaphore(count)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="answer")
        self._max_queue_wait_s = max_queue_wait_s
        self._request_timeout_s = request_timeout_s

    async def take(self, engine: Engine) -> "Slot":
        """Wait for a free slot; raises Refusal 429 when none gets free in time."""
        try:
            async with asyncio.timeout(self._max_queue_wait_s):
                await self._free.acquire()
        except TimeoutError:
            retry_s = min(max(math.ceil(self._max_queue_wait_s), 1), _LONGEST_RETRY_S)
            raise Refusal(
                429, f"all slots were busy for max_queue_wait_s={self._max_queue_wait_s:g} s: try again later",
                kind="rate_limit_error", headers={"Retry-After": str(retry_s)},
            ) from None  # fmt: skip
        return Slot(engine, threads=self._threads, timeout_s=self._request_timeout_s, on_free=self._free.release)


class Slot:
    """A place to answer one request in: its deadline, its stop signal, and its thread while one works."""

    def __init__(
        self, engine: Engine, *, threads: ThreadPoolExecutor, timeout_s: float, on_free: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._threads = threads
        self._timeout_s = timeout_s
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._stop = threading.Event()
        self._work: Future[Finished] | None = None
        self._on_free = on_free

    async def pieces(self, prompt: Sequence[int], *, sampling: Sampling) -> AsyncIterator[str | Finished]:
        """Yield an answer's text as it comes, then how it ended; raises Refusal 408 at the deadline."""
        loop = asyncio.get_running_loop()
        said: asyncio.Queue[str | Finished | BaseException] = asyncio.Queue()

        def post(item: str | Finished | BaseException) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server is gone, and so is the listener
                loop.call_soon_threadsafe(said.put_nowait, item)

        def done(work: Future[Finished]) -> None:
            post(work.exception() or work.result())

        self._work = self._threads.submit(self._engine.answer, prompt, sampling=sampling, on_text=post, stop=self._stop)
        self._work.add_done_callback(done)
        while True:
            item = await self._next(said)
            if isinstance(item, BaseException):
                raise item
            yield item
            if isinstance(item, Finished):
                return

    async def _next(self, said: asyncio.Queue[str | Finished | BaseException]) -> str | Finished | BaseException:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await said.get()
        except TimeoutError:
            raise Refusal(
                408, f"the answer took longer than request_timeout_s={self._timeout_s:g} s", kind="timeout"
            ) from None

    def stop(self) -> None:
        """Let the answer end here: what is still to come is not wanted."""
        self._stop.set()

    def leave(self) -> None:
        """Tell the thread to stop; the slot is free as soon as it has, so that there is never one thread too many."""
        self._stop.set()
        if self._work is None:
            self._on_free()
            return
        loop = asyncio.get_running_loop()

        def free(_work: Future[Finished]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._on_free)

        self._work.add_done_callback(free)


async def unless_gone(request: Request, work: Awaitable[_Result]) -> _Result:
    """Do the work; a client that hangs up meanwhile cancels it."""
    task = asyncio.ensure_future(work)
    listener = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait({task, listener}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Refusal(CLIENT_GONE, "the client hung up", kind="client_gone")
    finally:
        for pending in (task, listener):
            pending.cancel()
        await asyncio.gather(task, listener, return_exceptions=True)


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
