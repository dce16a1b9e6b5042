"""What a plan holds: stages and the reason for each, effects on the world, cores, limits, what stands in the way."""

from dataclasses import dataclass
from enum import StrEnum, auto
from pathlib import Path

from phi_runner.config.schema import StageName
from phi_runner.keys import Change
from phi_runner.plan.bands import Estimates


class Verdict(StrEnum):
    """What becomes of a selected stage."""

    run = auto()
    reuse = auto()
    skip = auto()
    stop = auto()
    """The run would end here, with the problem that the plan names."""
    unreached = auto()
    """It comes after the one where the run would end."""


class Action(StrEnum):
    """What a run does to one thing outside its own results."""

    create = auto()
    ensure = auto()
    """Found when the run looks for it, else made: only the cloud knows."""
    keep = auto()
    """There already, as far as is known here."""
    change = auto()
    delete = auto()
    start = auto()
    """A process of this machine, or a job elsewhere."""
    stop = auto()
    download = auto()
    leave = auto()
    """Left by `teardown`: it lies in another cloud than the run's."""


class Where(StrEnum):
    """In which world that is."""

    here = auto()
    azure = auto()
    rehearsal = auto()
    slurm = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One result that a stage reads."""

    stage: StageName
    key: str
    """Empty where it cannot be known before the run."""
    origin: str
    """`this run`, or why a stored one is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One selected stage."""

    name: StageName
    verdict: Verdict
    why: str
    changes: tuple[Change, ...] = ()
    """What parts its key from the nearest stored one."""
    unsure: str = ""
    """What only the run itself can find out; empty: nothing."""
    key: str = ""
    inputs: tuple[Input, ...] = ()
    output: Path | None = None
    """Folder of the result; None: the stage leaves none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One thing that is made, changed or taken away."""

    action: Action
    where: Where
    kind: str
    name: str
    stage: StageName
    note: str = ""
    usd_per_hour: float = 0.0
    """Of a thing that is taken away: the most that it bills until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Cores of one quota family that the run's machines need."""

    quota: str
    """As the portal names it; empty: the size is not known."""
    cores: int
    region: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitVerdict:
    """One stated limit against the plan."""

    key: str
    stated: float
    planned: float | None
    """The likely figure, in the limit's unit; None: it is missing."""
    at_most: float | None
    source: str
    exceeded: bool
    told: str
    """One line; empty: within the limit, the whole band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that is known of a run before it begins."""

    recipe: str
    overrides: tuple[str, ...]
    outputs: Path
    stages: tuple[StagePlan, ...]
    effects: tuple[Effect, ...]
    cores: tuple[Cores, ...]
    estimates: Estimates
    limits: tuple[LimitVerdict, ...]
    problems: tuple[str, ...] = ()
    """Why the run, as it is typed, would be refused or would stop."""
    warnings: tuple[str, ...] = ()
    """They are said on stderr as well."""

    @property
    def stops(self) -> bool:
        """Whether the run would not come to its end."""
        return bool(self.problems) or any(limit.exceeded for limit in self.limits)
