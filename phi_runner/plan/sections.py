"""The lists under a plan's table: what it takes and touches, cores, limits, what is missing or in the way."""

from collections.abc import Iterator

from phi_runner.config import prices
from phi_runner.plan import figures
from phi_runner.plan.bands import Band, Bill, Counts, Estimates, Memory, Missing
from phi_runner.plan.document import Action, Cores, Effect, Plan, Where

Row = tuple[str, ...]
Section = tuple[str, list[Row]]
_TITLES = {
    Where.here: "on this machine", Where.azure: "in Azure", Where.rehearsal: "in the emulated Azure",
    Where.slurm: "on the Slurm cluster",
}  # fmt: skip
_VERBS = {Action.ensure: "finds or makes", Action.keep: "uses", Action.stop: "stops", Action.leave: "LEAVES"}


def of(plan: Plan) -> Iterator[Section]:
    """Yield title and rows of every list; a list may be empty."""
    memory = list(_memory(plan.estimates))
    yield "needs", [*_sizes(plan.estimates), *memory] if memory else []
    yield "time", _times(plan.estimates)
    yield "cost", _costs(plan.estimates)
    for where, title in _TITLES.items():
        yield title, [_effect(effect) for effect in plan.effects if effect.where is where]
    yield "cores needed", [_cores(item) for item in plan.cores]
    yield "limits", [(limit.key, limit.told or f"{limit.stated:g} is enough") for limit in plan.limits]
    yield "to make it fit", [(line,) for line in plan.estimates.advice]
    yield "not known", [(line,) for line in plan.estimates.missing]
    yield "in the way", [(line,) for line in plan.problems]


def _cores(item: Cores) -> Row:
    return item.quota or "unknown size", f"{item.cores or '?'} in {item.region}", item.what


def _sizes(estimates: Estimates) -> Iterator[Row]:
    match estimates.counts:
        case Counts() as counts:
            about = "at most " if counts.at_most else ""
            learnt = f"{figures.counted(counts.trained)} of them learn" if counts.trained else "none of them learn"
            yield "model", f"{about}{figures.counted(counts.parameters)} parameters, {learnt}"
        case Missing():
            pass
    if isinstance(estimates.tokens, Band):
        band = estimates.tokens
        low, high = figures.counted(band.low), figures.counted(band.high)
        span = "" if low == high else f" ({low} to {high})"
        yield "data", f"{figures.counted(band.likely)} tokens an epoch{span}; {band.source}"


def _memory(estimates: Estimates) -> Iterator[Row]:
    for memory in estimates.memory:
        if memory.per_device is not None:
            yield _of_memory(memory, device=True)
        yield _of_memory(memory, device=False)


def _of_memory(memory: Memory, *, device: bool) -> Row:
    figure = memory.per_device if device and memory.per_device is not None else memory.per_process
    judged = device or memory.per_device is None
    there = f" of {figures.told(memory.available)}" if judged and isinstance(memory.available, Band) else ""
    fits = {True: ": fits", False: ": does NOT fit", None: ""}[memory.fits] if judged else ""
    each = f" for each of {memory.processes} processes" if memory.processes > 1 else ""
    on = f" on {memory.device}" if device else ""
    chosen = f" with {' '.join(memory.chosen)}" if memory.chosen and judged else ""
    source = f"; {figure.source}" if isinstance(figure, Band) else ""
    label = f"{memory.stage} {'device' if device else 'memory'}"
    return label, f"{figures.told(figure)}{there}{on}{each}{fits}{chosen}{source}"


def _times(estimates: Estimates) -> list[Row]:
    rows: list[Row] = []
    for stage, figure in estimates.hours.items():
        if isinstance(figure, Band) and figure.high <= 0:
            continue
        source = figure.source if isinstance(figure, Band) else ""
        rows.append((str(stage), figures.told(figure), source))
    if len(rows) > 1:
        rows.append(("all", figures.told(estimates.hours_total), ""))
    return rows


def _costs(estimates: Estimates) -> list[Row]:
    if not estimates.bills:
        return [("nothing bills by the hour",)]
    rows: list[Row] = [_bill(bill) for bill in estimates.bills]
    dated = f"list prices of {estimates.prices_as_of or prices.table().as_of}"
    rows.append(("all", figures.told(estimates.usd_total), dated))
    after = estimates.usd_per_hour_after
    if isinstance(after, Missing) or after.high > 0:
        rows.append(("after the run", figures.told(after), "until python -m phi_runner +recipe=teardown"))
    return rows


def _bill(bill: Bill) -> Row:
    hours = "its first hour" if bill.stays else figures.told(bill.hours)
    rate = figures.told(bill.usd_per_hour)
    what = f"{bill.count} x {bill.size}, {rate} for {hours}" if bill.size else f"{rate} for {hours}"
    return bill.what, figures.told(bill.usd), what


def _effect(effect: Effect) -> Row:
    bills = f"; bills up to {effect.usd_per_hour:.2f} USD/h until then" if effect.usd_per_hour else ""
    verb = _VERBS.get(effect.action, f"{effect.action}s")
    return verb, f"{effect.kind} {effect.name}", f"{effect.note}{bills}".removeprefix("; ")
