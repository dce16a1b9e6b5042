"""The blue/green roll-out: a new deployment beside the old one, proved, given the traffic step by step, or taken back.

Pure logic over a `Backend`, and without a memory of its own: every run looks at the world first and goes on from there,
so that a run killed at any point is continued by the next. Whatever has traffic has passed its proof.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from typing import Protocol

from phi_runner.errors import DeployFailed, PhiRunnerError
from phi_runner.events import StageEvents

NAMES = ("blue", "green")
_WHOLE = 100


class Condition(StrEnum):
    """How a deployment is."""

    ready = auto()
    making = auto()
    """An earlier run began to make it, and it is not known yet how that ends."""
    broken = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment as it is in the world; `fingerprint` says what it serves and how."""

    name: str
    percent: int
    fingerprint: str
    condition: Condition


class Backend(Protocol):
    """An endpoint that holds several deployments and divides its traffic among them. Its methods raise PhiRunnerError.

    Every method may be killed half way and called again.
    """

    def deployments(self) -> Sequence[Deployment]:
        """Return what is there, once no change of the traffic is under way."""
        ...

    def make(self, name: str) -> None:
        """Make the wanted deployment without traffic and wait until it is ready; one being made is waited for."""
        ...

    def prove(self, name: str) -> str:
        """Test one deployment past the division of the traffic, or with an empty name whoever has it; the answer."""
        ...

    def examine(self, name: str) -> None:
        """Hold a new deployment's answers against those of the model that was evaluated; raises DeployFailed."""
        ...

    def shift(self, traffic: Mapping[str, int]) -> None:
        """Divide the traffic, in percent by name, at once."""
        ...

    def remove(self, name: str) -> None:
        """Remove a deployment that has no traffic; one that is gone already is no error."""
        ...

    def log_tail(self, name: str) -> Sequence[str]:
        """Return the last lines of a deployment's log, without secrets."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the traffic moves."""

    steps: Sequence[int]
    """Percentages of the new deployment, rising to 100."""
    step_s: float
    bake_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The deployment that has all traffic, and what it answered."""

    name: str
    answer: str
    new: bool
    """False: it served before this run."""


def roll_out(
    backend: Backend, *, wanted: str, pace: Pace, events: StageEvents, pause: Callable[[float], None] = time.sleep
) -> Served:
    """Bring the deployment with the fingerprint `wanted` to all traffic and retire the others.

    Raises DeployFailed when it does not hold: traffic is back where it was, and the broken deployment is removed.
    """
    rollout = _Rollout(backend=backend, wanted=wanted, pace=pace, events=events, pause=pause)
    return rollout.perform()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rollout:
    """One roll-out in progress."""

    backend: Backend
    wanted: str
    pace: Pace
    events: StageEvents
    pause: Callable[[float], None]

    def perform(self) -> Served:
        """Look, settle what an earlier run has left, and go on from there."""
        world = self._settled(self.backend.deployments())
        target = self._target(world)
        if target and target.percent == _WHOLE:
            return self._keep(target, world)
        return self._take_over(target, world)

    def _fits(self, deployment: Deployment) -> bool:
        return deployment.fingerprint == self.wanted and deployment.condition is not Condition.broken

    def _target(self, world: Sequence[Deployment]) -> Deployment | None:
        """Return what is or becomes the wanted deployment; of two, the one with more traffic."""
        fitting = [item for item in world if self._fits(item)]
        return max(fitting, key=lambda item: item.percent, default=None)

    def _settled(self, world: Sequence[Deployment]) -> list[Deployment]:
        """Leave at most one deployment beside the wanted one, and at most one with traffic beside it.

        All that has traffic was proved, so any of it may get the rest; what has none and is not wanted goes.
        """
        target = self._target(world)
        others = sorted((item for item in world if item is not target), key=_preference)
        serving = [item for item in others if item.percent]
        if len(serving) > 1 or (serving and not target and serving[0].percent < _WHOLE):
            rest = _WHOLE - (target.percent if target else 0)
            self.events.info(f"an earlier roll-out was left half way: {serving[0].name} takes its {rest} %")
            self._shift({serving[0].name: rest} | ({target.name: target.percent} if target and target.percent else {}))
            serving = [replace(serving[0], percent=rest)]
        # With the wanted one at 100 % the one before is kept until the new one has baked.
        baking = target is not None and target.percent == _WHOLE
        kept = [*serving, *([] if serving or not baking else others[:1])]
        for item in others:
            if item.name not in {there.name for there in kept}:
                self._remove(item.name, why="an earlier run left it without traffic")
        return [*([target] if target else []), *kept]

    def _keep(self, target: Deployment, world: Sequence[Deployment]) -> Served:
        """Finish with a deployment that has all traffic already; one that no longer answers is replaced."""
        before = next((item for item in world if item is not target), None)
        try:
            answer = self.backend.prove(target.name)
        except DeployFailed as err:
            if before is not None and before.condition is Condition.ready and not self._fits(before):
                raise self._retreat(target.name, to={before.name: _WHOLE}, err=err) from err  # killed while it baked
            self.events.warn(f"{target.name} has the traffic and fails its test, it is replaced: {err}")
            if before is not None and self._fits(before):
                return self._take_over(before, world)
            if before is not None:
                self._remove(before.name, why="it is not ready")
            return self._take_over(None, [target])
        if before is None:
            self.events.info(f"{target.name} already serves this model with these settings", deployment=target.name)
            return Served(name=target.name, answer=answer, new=False)
        return self._bake(target.name, before=before.name)

    def _take_over(self, target: Deployment | None, world: Sequence[Deployment]) -> Served:
        """Make the deployment if it is not there, prove it, move the traffic to it, retire the one before."""
        before = next((item for item in world if item is not target and item.percent), None)
        taken = {item.name for item in world}
        name = target.name if target else next(name for name in NAMES if name not in taken)
        home = {before.name: _WHOLE} if before else {}
        try:
            if target is None or target.condition is not Condition.ready:
                self.events.info(f"makes deployment {name}" + (f" beside {before.name}" if before else ""))
                self.backend.make(name)
            else:
                self.events.info(f"goes on with {name}, which an earlier run has left at {target.percent} %")
            answer = self.backend.prove(name)
            self.events.info(f"{name} passed its test", deployment=name, answer=answer)
            self.backend.examine(name)
            if before is None:
                self._shift({name: _WHOLE})
                return Served(name=name, answer=self.backend.prove(""), new=True)
            self._step_up(name, before=before, reached=target.percent if target else 0)
        except PhiRunnerError as err:
            raise self._retreat(name, to=home, err=err) from err
        return self._bake(name, before=before.name)

    def _step_up(self, name: str, *, before: Deployment, reached: int) -> None:
        """Give the new deployment more and more of the traffic; it is tested after each step."""
        for percent in [step for step in self.pace.steps if reached < step < _WHOLE]:
            self._shift({before.name: _WHOLE - percent, name: percent})
            self.pause(self.pace.step_s)
            self.backend.prove(name)
        self._shift({name: _WHOLE})

    def _bake(self, name: str, *, before: str) -> Served:
        """Watch the new deployment at 100 % with the one before still there; then that one goes."""
        self.events.info(f"{name} has all traffic; {before} stays for another {self.pace.bake_s:g} s")
        try:
            self.pause(self.pace.bake_s)
            self.backend.prove(name)
            answer = self.backend.prove("")
        except PhiRunnerError as err:
            raise self._retreat(name, to={before: _WHOLE}, err=err) from err
        self._remove(before, why=f"{name} has taken over")
        return Served(name=name, answer=answer, new=True)

    def _retreat(self, name: str, *, to: Mapping[str, int], err: PhiRunnerError) -> DeployFailed:
        """Bring the traffic back, remove the broken deployment, and return what to raise; the first failure speaks."""
        there = f"{next(iter(to))} has the traffic" if to else "nothing served before, and nothing does now"
        log: Sequence[str] = ()
        try:
            known = {item.name: item.percent for item in self.backend.deployments()}
            if name in known:
                log = self.backend.log_tail(name)
            for home in to:
                if not known.get(home):  # nothing gets traffic that does not pass its test now
                    self.backend.prove(home)
            if known.get(name) or any(known.get(home) != percent for home, percent in to.items()):
                self._shift(to)
            if name in known:
                self._remove(name, why="it failed")
        except PhiRunnerError as second:
            there = f"going back failed as well ({second}): the same command tries again"
        said = " | ".join(line.strip() for line in log if line.strip())
        return DeployFailed(f"{err}; {there}" + (f"; its log ends with: {said}" if said else ""))

    def _shift(self, traffic: Mapping[str, int]) -> None:
        told = ", ".join(f"{name} {percent} %" for name, percent in traffic.items()) or "none"
        self.backend.shift(traffic)
        self.events.info(f"traffic: {told}")

    def _remove(self, name: str, *, why: str) -> None:
        self.backend.remove(name)
        self.events.info(f"removed deployment {name}: {why}", deployment=name)


def _preference(deployment: Deployment) -> tuple[bool, int, str]:
    """Order what is not wanted: what is ready first, and of that what has the most traffic."""
    return deployment.condition is not Condition.ready, -deployment.percent, deployment.name
