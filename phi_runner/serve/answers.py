"""One answer from the engine's first word to its last: its slot, deadline, stop texts and count."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request

from phi_runner.model.answering import Engine, EngineFailed, Finish, Finished, Piece, Prompt, Sampling
from phi_runner.serve.metrics import Metrics
from phi_runner.serve.refusals import CLIENT_GONE, Refusal
from phi_runner.serve.stops import StopTexts

_Result = TypeVar("_Result")
log = logging.getLogger("phi_runner.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something to answer: the prompt, how to sample, and what ends the answer."""

    prompt: Prompt
    sampling: Sampling
    stops: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a request must have been answered, in the event loop's time, and the limit that set it."""

    at: float
    timeout_s: float

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Do something before the deadline; raises Refusal 408 there."""
        try:
            async with asyncio.timeout_at(self.at):
                yield
        except TimeoutError:
            raise self.missed() from None

    def missed(self) -> Refusal:
        """Return what is said then."""
        return Refusal(408, f"the answer took longer than request_timeout_s={self.timeout_s:g} s", kind="timeout")


class Answer:
    """An answer while it is given; its slot gets free when the engine has told that it ended, not when nobody listens.

    So there is never an answer more in the engine than there are slots, and a client that reads slowly keeps none.
    """

    def __init__(
        self, question: Question, *, deadline: Deadline, free: Callable[[float], None], metrics: Metrics,
        asked: float | None = None,
    ) -> None:  # fmt: skip
        """`asked`: when the request came, in the event loop's time; None: not the first answer of its request."""
        self._question = question
        self._asked = asked
        self.deadline = deadline
        self._free = free
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._said: asyncio.Queue[Piece | Refusal] = asyncio.Queue()
        self._late = self._loop.call_at(deadline.at, self._said.put_nowait, deadline.missed())
        self._cancel: Callable[[], None] | None = None
        self._over = False

    async def text(self, engine: Engine) -> AsyncIterator[str | Finished]:
        """Yield the text as it comes, cut at the first stop text, then how it ended; raises Refusal 500 or 503."""
        stops = StopTexts(self._question.stops)
        async for piece in self._pieces(engine):
            if isinstance(piece, Finished):
                if not stops.hit and (rest := stops.rest()):
                    yield rest
                yield _ended(piece, by_stop_text=stops.hit)
            elif not stops.hit:
                if shown := stops.feed(piece):
                    yield shown
                if stops.hit:
                    self._stop()

    async def _pieces(self, engine: Engine) -> AsyncIterator[str | Finished]:
        if self._over:
            return
        try:
            self._cancel = engine.start(self._question.prompt, sampling=self._question.sampling, tell=self._post)
        except EngineFailed as err:
            self._end(None)
            raise _failure(err) from err
        except BaseException:
            self._end(None)
            raise
        while True:
            piece = await self._said.get()
            if isinstance(piece, EngineFailed):
                raise _failure(piece) from piece
            if isinstance(piece, Refusal):
                raise piece
            yield piece
            if isinstance(piece, Finished):
                return

    def _post(self, piece: Piece) -> None:
        """Take a piece from whichever thread the engine speaks in."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server is gone, and so is the listener
            self._loop.call_soon_threadsafe(self._take, piece)

    def _take(self, piece: Piece) -> None:
        if self._asked is not None and isinstance(piece, str):
            self._metrics.began(self._loop.time() - self._asked)
            self._asked = None
        self._said.put_nowait(piece)
        if not isinstance(piece, str):
            self._end(piece if isinstance(piece, Finished) else None)

    def _end(self, finished: Finished | None) -> None:
        if self._over:
            return
        self._over = True
        self._late.cancel()
        used_s = self._loop.time() - self._begun
        self._metrics.ended(finished, seconds=used_s)
        self._free(used_s)

    def _stop(self) -> None:
        if self._cancel and not self._over:
            self._cancel()

    def leave(self) -> None:
        """Let the answer end here, as nobody wants the rest of it; to leave twice does no harm."""
        if self._cancel:
            self._stop()
        elif not self._over:  # it never began
            self._over = True
            self._late.cancel()
            self._free(0.0)


def _ended(finished: Finished, *, by_stop_text: bool) -> Finished:
    """Return how the answer ended for its reader; raises Refusal 503 when it was the engine that broke it off."""
    if finished.reason is Finish.cancelled and not by_stop_text:
        raise Refusal(503, "the endpoint is stopping: ask again", kind="stopping", headers={"Retry-After": "1"})
    reason = Finish.stop if by_stop_text else finished.reason
    return Finished(
        reason=reason, prompt_tokens=finished.prompt_tokens, completion_tokens=finished.completion_tokens
    )  # fmt: skip


def _failure(err: EngineFailed) -> Refusal:
    log.error("an answer failed: %s", err)
    return Refusal(500, "the engine could not finish this answer; the endpoint's log says why", kind="engine_failed")


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
