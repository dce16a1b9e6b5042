"""How the memory of an endpoint's processes grows while it works."""

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from benchmarks.serving import ours

_MIB = 2**20


@dataclass(slots=True, kw_only=True)
class Memory:
    """Samples of the gateway and of each life of its engine, in MiB, by seconds since the first sample."""

    pid: int
    gateway: list[tuple[float, float]] = field(default_factory=list)
    lives: dict[int, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """Of the engine, by pid, from when it was ready on; the seconds are those since then."""
    _begun: float = field(default_factory=time.monotonic)
    _born: dict[int, float] = field(default_factory=dict)

    def sample(self, *, ready: bool = True) -> None:
        """Look once; an engine that is not `ready` still loads its model, which is no growth."""
        now = time.monotonic()
        try:
            engines = ours.engines(self.pid)
            own = psutil.Process(self.pid).memory_info().rss
            self.gateway.append((now - self._begun, own / _MIB))
            for engine in engines if ready else ():
                born = self._born.setdefault(engine.pid, now)
                self.lives[engine.pid].append((now - born, engine.memory_info().rss / _MIB))
        except psutil.NoSuchProcess:  # it was killed between two looks
            return

    def gateway_growth(self, *, after_s: float) -> float | None:
        """Return MiB a minute after the warm-up, None where there are too few samples."""
        return _slope([self.gateway], after_s=after_s)

    def engine_growth(self, *, after_s: float) -> float | None:
        """Return MiB a minute within the engine's lives, each after its own warm-up."""
        return _slope(list(self.lives.values()), after_s=after_s)

    def engine_ends(self) -> list[float]:
        """Return what the engine held at the end of each of its lives, in order."""
        return [statistics.median(value for _, value in life[-3:]) for life in self.lives.values() if len(life) > 3]


def _slope(lives: Sequence[Sequence[tuple[float, float]]], *, after_s: float) -> float | None:
    """Return the common slope of several lives, each with a level of its own, by least squares, a minute."""
    above = below = 0.0
    for life in lives:
        warm = [(at, value) for at, value in life if at >= after_s]
        if len(warm) < 3:
            continue
        mean_at, mean = (statistics.fmean(column) for column in zip(*warm, strict=True))
        above += sum((at - mean_at) * (value - mean) for at, value in warm)
        below += sum((at - mean_at) ** 2 for at, _ in warm)
    return 60 * above / below if below else None
