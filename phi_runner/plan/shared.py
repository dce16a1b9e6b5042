"""The plans of a sweep's trials side by side: a result that several trials use is made once and counted once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from phi_runner.plan import figures
from phi_runner.plan.bands import Band, Figure
from phi_runner.plan.document import Plan, StagePlan, Verdict
from phi_runner.plan.sections import Row, Section

if TYPE_CHECKING:
    from phi_runner.config.schema import StageName

_NOTHING = Band(low=0, likely=0, high=0, unit="h", source="")
_SOURCE = "sum of the trials"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """The trials of a sweep, planned."""

    trials: int
    """How many there are; `rows` may hold the first ones."""
    rows: tuple[Row, ...]
    sections: tuple[Section, ...]
    stops: bool


def side_by_side(plans: Sequence[Plan], *, owns: Sequence[Sequence[str]], trials: int) -> Trials:
    """Return one row a trial, with what all of them have in common said once."""
    made: set[tuple[StageName, str]] = set()
    rows, hours, money = [], [], []
    for number, (plan, own) in enumerate(zip(plans, owns, strict=True)):
        running = [item for item in plan.stages if item.verdict is Verdict.run and (item.name, item.key) not in made]
        made |= {(stage.name, stage.key) for stage in running if stage.key}
        each = (plan.estimates.hours.get(stage.name, _NOTHING) for stage in running)
        time = figures.added(each, unit="h", source=_SOURCE)
        cost = plan.estimates.usd_total if running else replace(_NOTHING, unit="USD")
        hours.append(time)
        money.append(cost)
        rows.append((str(number), "\n".join(own), *_names(plan, running), figures.told(time), _cost(plan, cost)))
    return Trials(
        trials=trials, rows=tuple(rows), sections=tuple(_in_common(plans, hours, money, trials=trials)),
        stops=any(plan.stops for plan in plans),
    )  # fmt: skip


def _names(plan: Plan, running: Sequence[StagePlan]) -> tuple[str, str]:
    mine = [str(stage.name) for stage in running]
    others = [str(stage.name) for stage in plan.stages if stage.name not in mine and stage.verdict is not Verdict.skip]
    return ", ".join(mine), ", ".join(others)


def _cost(plan: Plan, cost: Figure) -> str:
    return figures.told(cost) if plan.estimates.bills else "none"


def _in_common(plans: Sequence[Plan], hours: list[Figure], money: list[Figure], *, trials: int) -> list[Section]:
    time = figures.added(hours, unit="h", source=_SOURCE)
    cost = figures.added(money, unit="USD", source=_SOURCE)
    bills = any(plan.estimates.bills for plan in plans)
    total: list[Row] = [("time", f"{figures.told(time)}, one trial after the other")]
    total.append(("cost", figures.told(cost) if bills else "nothing bills by the hour"))
    if trials > len(plans):
        total = [(row[0], f"{row[1]} for the {len(plans)} of {trials} trials above") for row in total]
    return [
        ("all trials", total),
        ("limits", _once(limit.told for plan in plans for limit in plan.limits)),
        ("not known", _once(line for plan in plans for line in plan.estimates.missing)),
        ("in the way", _once(line for plan in plans for line in plan.problems)),
    ]


def _once(lines: Iterable[str]) -> list[Row]:
    return [(line,) for line in dict.fromkeys(filter(None, lines))]
