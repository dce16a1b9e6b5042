"""What a plan says of memory, time and money: figures with a band and a source, or the name of what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from phi_runner.config.schema import StageName

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A figure that nobody has measured yet: where it most likely lies, and between what."""

    low: float
    likely: float
    high: float
    unit: str
    """`GiB`, `h`, `USD` or `USD/h`."""
    source: str
    """Where it comes from: a measurement, a table and its date, or a stated guess."""

    def times(self, factor: float, *, unit: str = "", source: str = "") -> "Band":
        """Return the band of something so many times as large."""
        return Band(
            low=self.low * factor, likely=self.likely * factor, high=self.high * factor,
            unit=unit or self.unit, source=source or self.source,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A figure that cannot be known here and now."""

    what: str
    """Which figure, why, and what to type to have it; one line."""


Figure = Band | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One share of a process's memory."""

    what: str
    """`weights`, `gradients`, `optimiser`, `activations`, `loss` or `libraries`."""
    gib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one stage needs at its peak, and what there is."""

    stage: StageName
    processes: int
    """On one machine."""
    device: str
    """What a process computes on: `cpu`, `cuda`, or the size's name with its GPU."""
    per_process: Figure
    """Main memory of one process."""
    per_device: Figure | None
    """Memory of one GPU; None: the stage computes on a processor."""
    parts: tuple[Part, ...]
    """Of the tighter of the two: the device's where there is one."""
    available: Figure
    """For one process, or on one device: the same one that `parts` tells about."""
    fits: bool | None
    """None: one of the two figures is missing."""
    chosen: tuple[str, ...] = ()
    """What the runner will choose on its own, as it is typed: `train.micro_batch=2` ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One thing that bills by the hour."""

    what: str
    size: str
    count: int
    usd_per_hour: Figure
    """Of all of them together."""
    hours: Figure
    usd: Figure
    stays: bool
    """It goes on billing after the run until teardown; `hours` is then one hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Exact counts of a training, by the shape of its model."""

    parameters: int
    trained: int
    """Weights that the optimiser updates: all, or the adapters'."""
    optimiser: int
    """Numbers that the optimiser keeps beside them: two moments each."""
    at_most: bool = False
    """The vocabulary is known only by its upper bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """Everything that a plan says of a run's size, each figure with its source."""

    counts: Counts | Missing
    tokens: Figure
    """Tokens of one epoch."""
    memory: tuple[Memory, ...]
    """By stage, in their order; stages that are reused or hold no model are left out."""
    hours: Mapping[StageName, Figure]
    """By stage; a stage that is reused is there with zero."""
    hours_total: Figure
    bills: tuple[Bill, ...]
    usd_total: Figure
    """Of all bills, what stays with its first hour."""
    usd_per_hour_after: Figure
    """What goes on billing each hour when the run is over."""
    prices_as_of: str
    """Date of the price table; empty: nothing bills."""
    advice: tuple[str, ...] = ()
    """What to type where something does not fit, each estimated again with it, one line each."""
    missing: tuple[str, ...] = field(default=())
    """Every missing figure once, one line each."""
