"""All deployments of an endpoint: brought to what the plan wants, one chosen for each request, reported."""

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path

from phi_runner.serve.gateway.engine import Engine
from phi_runner.serve.gateway.spread import Spread
from phi_runner.serve.gateway.steering import (
    REPORT_FILE,
    GatewaySettings,
    Phase,
    Plan,
    PlanFile,
    Report,
    Wish,
    write,
)

_LOOK_EVERY_S = 0.05
log = logging.getLogger("phi_runner.gateway")


class Fleet:
    """The engines behind one address; made inside the event loop."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.plan = Plan()
        self.port = 0
        """Of the gateway itself, 0 until it listens."""
        self.engines: dict[str, Engine] = {}
        self._settings = settings
        self._folder = Path(settings.folder)
        self._file = PlanFile(self._folder)
        self._draining: dict[asyncio.Task[None], Engine] = {}
        self._spread = Spread()
        self._changed = asyncio.Event()

    async def follow(self) -> None:
        """Carry out each plan as it comes."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    def look(self) -> None:
        """Carry out the plan if it is a new one; one that cannot be read is told and changes nothing."""
        try:
            plan = self._file.changed()
            if plan is not None and plan.generation > self.plan.generation:
                self._carry_out(plan)
        except (OSError, ValueError, TypeError, KeyError):
            log.exception("the plan in %s cannot be carried out", self._folder)

    def _carry_out(self, plan: Plan) -> None:
        wanted = {wish.name: wish for wish in plan.wishes}
        for name, engine in list(self.engines.items()):
            if wanted.get(name) != engine.wish:
                self._retire(self.engines.pop(name))
        for name, wish in wanted.items():
            if name not in self.engines:
                self.engines[name] = self._begin(wish)
        self.plan = plan
        told = ", ".join(f"{name} {percent} %" for name, percent in plan.traffic.items()) or "none"
        log.info("plan %d: deployments %s; traffic: %s", plan.generation, ", ".join(wanted) or "none", told)
        self._tell()

    def _begin(self, wish: Wish) -> Engine:
        return Engine(wish, module=self._settings.module, tell=self._tell)

    def _retire(self, engine: Engine) -> None:
        task = asyncio.create_task(self._drain(engine))
        self._draining[task] = engine
        task.add_done_callback(self._retired)
        engine.drain()

    async def _drain(self, engine: Engine) -> None:
        """Let the answers in progress come to their end, each of which has a limit of its own."""
        limits = engine.settings
        try:
            async with asyncio.timeout(limits.max_queue_wait_s + limits.request_timeout_s):
                await engine.idle.wait()
        except TimeoutError:
            log.warning("deployment %s still answered %d requests when it was ended", engine.name, engine.open)
        await engine.end()
        log.info("deployment %s has ended", engine.name)

    def _retired(self, task: asyncio.Task[None]) -> None:
        del self._draining[task]
        self._tell()

    def _tell(self) -> None:
        """Let everybody know that something has changed: whoever waits for an engine, and the run that steers."""
        self._changed.set()
        self._changed = asyncio.Event()
        if self.port:
            everything = [*self.engines.values(), *self._draining.values()]
            report = Report(
                generation=self.plan.generation, port=self.port, deployed=tuple(item.deployed() for item in everything)
            )
            write(report, self._folder / REPORT_FILE)

    def listening(self, port: int) -> None:
        """Report where the gateway answers, which it does from now on."""
        self.port = port
        self._tell()

    async def change(self, *, within_s: float) -> None:
        """Wait until anything about a deployment changes; raises TimeoutError."""
        async with asyncio.timeout(within_s):
            await self._changed.wait()

    def choose(self, *, without: Collection[Engine] = ()) -> Engine | None:
        """Return the ready engine whose turn it is: of those with traffic, else of those that stand by."""
        ready = {name: item for name, item in self.engines.items() if item.ready and item not in without}
        weights = {name: percent for name, percent in self.plan.traffic.items() if percent and name in ready}
        if weights:
            return ready[self._spread.pick(weights)]
        return next((ready[name] for name in self.plan.standby if name in ready), None)

    @property
    def can_answer(self) -> bool:
        """Say whether anybody with traffic, or standing by, is ready."""
        return any(item.ready for item in self._asked())

    @property
    def may_answer(self) -> bool:
        """Say whether one of those is ready or on its way."""
        return any(not item.hopeless for item in self._asked())

    def _asked(self) -> list[Engine]:
        names = {*(name for name, percent in self.plan.traffic.items() if percent), *self.plan.standby}
        return [item for name, item in self.engines.items() if name in names]

    @property
    def patience_s(self) -> float:
        """How long a request may wait for an engine: no longer than it might wait in an engine's queue."""
        return max((item.settings.max_queue_wait_s for item in self.engines.values()), default=0.0)

    @property
    def body_limits(self) -> tuple[int, float]:
        """Bytes that a request's body may have and seconds that it may take: the most that an engine allows."""
        limits = [item.settings for item in self.engines.values()]
        longest = max((item.max_body_bytes for item in limits), default=0)
        return longest, max((item.body_timeout_s for item in limits), default=0.0)

    async def close(self) -> None:
        """End every process."""
        engines = [*self.engines.values(), *self._draining.values()]
        for task in self._draining:
            task.cancel()
        for engine in engines:
            if engine.phase is not Phase.draining:
                engine.drain()
        await asyncio.gather(*(engine.end() for engine in engines))
