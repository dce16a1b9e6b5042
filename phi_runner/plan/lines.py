"""A plan in a few plain lines, which a run says before its first stage."""

from collections.abc import Iterator

from phi_runner.plan import figures
from phi_runner.plan.bands import Band, Memory
from phi_runner.plan.document import Action, Plan, Verdict, Where

_MOST = 6
"""Things of one kind that are named."""


def compact(plan: Plan) -> list[str]:
    """Return what the run will do, what it takes, and what it touches outside this machine."""
    return [_stages(plan), _takes(plan), *_touched(plan)]


def _stages(plan: Plan) -> str:
    named = {verdict: [str(item.name) for item in plan.stages if item.verdict is verdict] for verdict in Verdict}
    told = [f"{verdict} {', '.join(names)}" for verdict, names in named.items() if names]
    return f"plan: {'; '.join(told)}"


def _takes(plan: Plan) -> str:
    estimates = plan.estimates
    parts = [f"about {figures.told(estimates.hours_total)}"] if isinstance(estimates.hours_total, Band) else []
    held = [memory for memory in estimates.memory if isinstance(memory.per_process, Band)]
    if held:
        most = max(held, key=_likely)
        tight = ", which does not fit" if most.fits is False else ""
        parts.append(f"{figures.told(most.per_device or most.per_process)} of memory in {most.stage}{tight}")
    if estimates.bills:
        parts.append(f"{figures.told(estimates.usd_total)} (prices of {estimates.prices_as_of})")
    else:
        parts.append("nothing that bills")
    return f"plan: {', '.join(parts)}"


def _likely(memory: Memory) -> float:
    figure = memory.per_device or memory.per_process
    return figure.likely if isinstance(figure, Band) else 0.0


def _touched(plan: Plan) -> Iterator[str]:
    """Yield one line for each thing that is done outside this machine or that takes something away."""
    loud = [
        effect for effect in plan.effects
        if effect.action is not Action.keep and (effect.where is not Where.here or effect.action is Action.delete)
    ]  # fmt: skip
    for where in Where:
        for action in Action:
            names = [f"{item.kind} {item.name}" for item in loud if (item.where, item.action) == (where, action)]
            if names:
                more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
                yield f"plan: in {where}: {action} {', '.join(names[:_MOST])}{more}"
