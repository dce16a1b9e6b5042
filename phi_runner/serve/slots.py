"""How many answers are given at a time, who waits for how long, and when a place is free again."""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable

from phi_runner.serve.metrics import Metrics
from phi_runner.serve.refusals import Refusal

_LONGEST_RETRY_S = 60
_FIRST_GUESS_S = 1.0
"""How long an answer is thought to take before one was measured."""
_MEMORY = 0.2
"""Weight of the newest answer in the mean of how long they take."""


class Slots:
    """The places in which answers are given, first come first served; used from the server's event loop alone.

    Every waiting request has one ticket, one with many texts too: it takes every slot that nobody else wants, and where
    others wait it gets as many turns as each of them.
    """

    def __init__(self, count: int, *, max_queue: int, max_queue_wait_s: float, metrics: Metrics) -> None:
        self._count = count
        self._max_queue = max_queue
        self._max_queue_wait_s = max_queue_wait_s
        self._metrics = metrics
        self._busy = 0
        self._tickets: deque[asyncio.Future[None]] = deque()
        self._answer_s = 0.0
        self._note()

    def refuse_if_full(self) -> None:
        """Raise Refusal 429 when the queue is full, before any work is done for the request."""
        if self._busy >= self._count and len(self._tickets) >= self._max_queue:
            raise self._busy_refusal(f"{len(self._tickets)} requests wait already (max_queue={self._max_queue})")

    async def enter(self) -> Callable[[float], None]:
        """Wait for a request's first slot, return what frees it; raises Refusal 429 when that cannot be in time."""
        self.refuse_if_full()
        try:
            async with asyncio.timeout(self._max_queue_wait_s):
                return await self.take()
        except TimeoutError:
            message = f"all slots were busy for max_queue_wait_s={self._max_queue_wait_s:g} s"
            raise self._busy_refusal(message) from None

    async def take(self) -> Callable[[float], None]:
        """Wait for a slot however long it takes, return what frees it; that is told how many seconds it was used."""
        if self._busy < self._count and not self._tickets:
            self._busy += 1
        else:
            await self._turn()
        self._note()
        return self._leave

    async def _turn(self) -> None:
        ticket = asyncio.get_running_loop().create_future()
        self._tickets.append(ticket)
        self._note()
        try:
            await ticket
        except asyncio.CancelledError:
            if not ticket.cancelled():  # the slot came in the same moment
                self._pass_on()
            with contextlib.suppress(ValueError):
                self._tickets.remove(ticket)
            self._note()
            raise

    def _leave(self, used_s: float) -> None:
        if used_s > 0:
            self._answer_s = self._answer_s + _MEMORY * (used_s - self._answer_s) if self._answer_s else used_s
        self._pass_on()

    def _pass_on(self) -> None:
        while self._tickets:
            ticket = self._tickets.popleft()
            if not ticket.done():
                ticket.set_result(None)
                break
        else:
            self._busy -= 1
        self._note()

    def _note(self) -> None:
        self._metrics.load(slots=self._count, busy=self._busy, waiting=len(self._tickets))

    def _busy_refusal(self, reason: str) -> Refusal:
        return Refusal(
            429, f"{reason}: try again later", kind="rate_limit_error", headers={"Retry-After": str(self._retry_s())}
        )

    def _retry_s(self) -> int:
        """Return when a slot should be free for one more, by how long answers have taken lately; whole seconds."""
        answer_s = self._answer_s or _FIRST_GUESS_S
        return min(max(math.ceil(answer_s * (len(self._tickets) + 1) / self._count), 1), _LONGEST_RETRY_S)
