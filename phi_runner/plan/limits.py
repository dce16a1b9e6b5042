"""The stated limits against the plan: the likely figure decides, and a band that reaches beyond it is told."""

from collections.abc import Iterator

from phi_runner.config.schema import RunConfig
from phi_runner.errors import LimitExceeded
from phi_runner.plan.bands import GIB, Band, Estimates, Figure, Missing
from phi_runner.plan.document import LimitVerdict, Plan

_GB = 1e9


def verdicts(config: RunConfig, estimates: Estimates) -> tuple[LimitVerdict, ...]:
    """Return what the plan says of every limit that is stated."""
    limits = config.limits
    found = []
    if limits.max_memory_gb is not None:
        figure, whose = _most_memory(estimates)
        more = "; ".join(estimates.advice[:1]) or "choose a smaller model, a smaller train.max_length or train=lora"
        found.append(_judged("max_memory_gb", limits.max_memory_gb, figure, unit="GB", whose=whose, instead=more))
    if limits.max_hours is not None:
        less = "take fewer rows (data.take) or epochs (train.epochs)"
        found.append(
            _judged("max_hours", limits.max_hours, estimates.hours_total, unit="h", whose="the run", instead=less)
        )
    if limits.max_usd is not None:
        cheaper = "choose smaller sizes (compute.vm_size, deploy.instance_type), or azure=rehearsal"
        found.append(
            _judged("max_usd", limits.max_usd, estimates.usd_total, unit="USD", whose="the run", instead=cheaper)
        )
    return tuple(found)


def _most_memory(estimates: Estimates) -> tuple[Figure, str]:
    """Return the largest figure of all processes and devices, in GB, and whose it is; a missing one where one is."""
    figures: list[tuple[Figure, str]] = []
    for memory in estimates.memory:
        figures.append((memory.per_process, f"a process of {memory.stage}"))
        if memory.per_device is not None:
            figures.append((memory.per_device, f"a device of {memory.stage}"))
    bands = [(figure, whose) for figure, whose in figures if isinstance(figure, Band)]
    missing = [(figure, whose) for figure, whose in figures if isinstance(figure, Missing)]
    if not bands:
        return missing[0] if missing else (Band(low=0, likely=0, high=0, unit="GB", source="no model is held"), "it")
    band, whose = max(bands, key=lambda pair: pair[0].likely)
    return band.times(GIB / _GB, unit="GB"), whose


def _judged(
    name: str, stated: float, figure: Figure, *, unit: str, whose: str, instead: str
) -> LimitVerdict:  # fmt: skip
    key = f"limits.{name}"
    if isinstance(figure, Missing):
        told = f"{key}={stated:g} cannot be judged: {figure.what}"
        return LimitVerdict(
            key=key, stated=stated, planned=None, at_most=None, source="", exceeded=False, told=told
        )  # fmt: skip
    exceeded = figure.likely > stated
    told = ""
    if exceeded:
        told = (
            f"{key}={stated:g} is exceeded: {whose} needs about {figure.likely:.3g} {unit} ({figure.low:.3g} to "
            f"{figure.high:.3g}, {figure.source}): {instead}, or type {key}={_raised(figure.high)}"
        )
    elif figure.high > stated:
        told = f"{key}={stated:g} may be exceeded: {whose} needs {figure.low:.3g} to {figure.high:.3g} {unit}"
    return LimitVerdict(
        key=key, stated=stated, planned=figure.likely, at_most=figure.high, source=figure.source, exceeded=exceeded,
        told=told,
    )  # fmt: skip


def _raised(high: float) -> str:
    """Return a figure that the whole band fits under, with two digits."""
    digits = f"{high * 1.05:.1e}"
    return f"{float(digits):g}"


def told(plan: Plan) -> Iterator[str]:
    """Yield one line for each limit that may be exceeded or cannot be judged."""
    return (limit.told for limit in plan.limits if limit.told and not limit.exceeded)


def enforce(plan: Plan) -> None:
    """Raise LimitExceeded naming every limit that the likely figures exceed."""
    exceeded = [limit.told for limit in plan.limits if limit.exceeded]
    if exceeded:
        raise LimitExceeded("; ".join(exceeded))
