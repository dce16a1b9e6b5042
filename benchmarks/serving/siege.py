"""One endpoint under more load than it can bear: the clients, the one who kills its engine, the one who watches."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Mapping, Sequence

from benchmarks.serving import ours
from benchmarks.serving.cases import Case, Mix
from benchmarks.serving.http import BrokenOff, Connection, Request
from benchmarks.serving.ledger import Ledger
from benchmarks.serving.memory import Memory
from benchmarks.serving.model import Reference
from benchmarks.serving.servers import Up
from benchmarks.serving.visit import Outcome, visit
from benchmarks.table import Figure

_MOST_OPEN = 3000
"""Requests that wait for their end at a time; more are held back, so that this process is not what fails."""
_SAMPLE_S = 1.0
_PROBE_S = 0.25
_LIFE_S = (62.0, 90.0)
"""How long an engine is left alive once it is ready; one that dies sooner than after 60 s is soon given up."""
_QUICK_LIFE_S = (12.0, 18.0)
_SPARED = 0.25
"""Share of the time, at the end, in which nothing is killed: growth shows only in a long life."""


class Siege:
    """One endpoint under load: the clients, the killer, the observer."""

    def __init__(self, up: Up, *, mix: Mix, references: Mapping[str, Reference], quick: bool) -> None:
        self.ledger = Ledger()
        self.memory = Memory(pid=up.pid)
        self.kills = 0
        self.recoveries_s: list[float] = []
        self._up = up
        self._mix = mix
        self._references = references
        self._quick = quick
        self._chance = random.Random(0)
        self._open = asyncio.Semaphore(_MOST_OPEN)

    async def capacity(self, *, clients: int, seconds: float) -> float:
        """Return how many good requests a second are answered when `clients` take turns."""
        ends, done = time.monotonic() + seconds, 0

        async def client() -> None:
            nonlocal done
            while time.monotonic() < ends:
                await visit(self._mix.good(), url=self._up.url, references=self._references)
                done += time.monotonic() < ends

        await asyncio.gather(*(client() for _ in range(clients)))
        return done / seconds

    async def run(self, *, rate: float, seconds: float) -> None:
        """Send `rate` requests a second, whatever becomes of those before, and wait for the last of them."""
        ends = time.monotonic() + seconds
        beside = [asyncio.create_task(self._observe()), asyncio.create_task(self._kill(until=ends - _SPARED * seconds))]
        visits: set[asyncio.Task[None]] = set()
        following = time.monotonic()
        while following < ends:
            await asyncio.sleep(max(0.0, following - time.monotonic()))
            await self._open.acquire()
            task = asyncio.create_task(self._one(self._mix.any()))
            visits.add(task)
            task.add_done_callback(visits.discard)
            following += self._chance.expovariate(rate)
        print(f"all are sent, {len(visits)} still wait for their end ...", flush=True)
        await asyncio.gather(*visits)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)

    async def _one(self, case: Case) -> None:
        self.ledger.begin(case)
        try:
            self.ledger.end(case, await visit(case, url=self._up.url, references=self._references))
        finally:
            self._open.release()

    async def _observe(self) -> None:
        while True:
            self.memory.sample(ready=await _ready(self._up.url))
            await asyncio.sleep(_SAMPLE_S)

    async def _kill(self, *, until: float) -> None:
        """Kill the engine, wait until the endpoint is ready again, leave it alone for a while."""
        while True:
            await asyncio.sleep(self._chance.uniform(*(_QUICK_LIFE_S if self._quick else _LIFE_S)))
            if time.monotonic() > until:
                return
            engines = ours.engines(self._up.pid)
            if not engines:
                continue
            os.kill(engines[-1].pid, signal.SIGKILL)
            self.kills += 1
            killed = time.monotonic()
            while not await self._back(after=engines[-1].pid):
                await asyncio.sleep(_PROBE_S)
            self.recoveries_s.append(time.monotonic() - killed)
            print(f"engine killed, another one ready after {self.recoveries_s[-1]:.1f} s", flush=True)

    async def _back(self, *, after: int) -> bool:
        """Say whether another engine than the killed one is ready; its death is not noticed at once."""
        others = [engine for engine in ours.engines(self._up.pid) if engine.pid != after]
        return bool(others) and await _ready(self._up.url)

    async def afterwards(self) -> Outcome:
        """Ask one good question when all is over: a slot that a client has left behind would make it wait."""
        return await visit(self._mix.good(), url=self._up.url, references=self._references)

    def figures(self, *, capacity: float, rate: float) -> list[Figure]:
        """Return the account, and what was seen beside it."""
        gateway = self.memory.gateway_growth(after_s=5 if self._quick else 60)
        engine = self.memory.engine_growth(after_s=5 if self._quick else 30)
        seen: list[tuple[str, Sequence[float], str]] = [
            ("good requests answered, unhurried", [capacity], "requests/s"),
            ("all requests sent", [rate], "requests/s"),
            ("engine killed", [self.kills], "times"),
            ("another engine ready after a kill", self.recoveries_s, "s"),
            ("growth of the gateway", [] if gateway is None else [gateway], "MiB/minute"),
            ("growth of the engine, within a life", [] if engine is None else [engine], "MiB/minute"),
            ("gateway", [value for _, value in self.memory.gateway], "MiB"),
            ("engine, at the end of each life", self.memory.engine_ends(), "MiB"),
        ]
        return [
            *self.ledger.figures(),
            *(
                Figure(name=name, values=values, unit=unit, note="" if values else "too short a run")
                for name, values, unit in seen
            ),
        ]


async def _ready(url: str) -> bool:
    try:
        async with asyncio.timeout(10), Connection(url) as connection:
            await connection.send(Request(path="/health/ready", method="GET"))
            return (await connection.response()).status == 200
    except (OSError, BrokenOff):
        return False
