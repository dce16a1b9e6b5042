"""Estimate what a run takes before it starts: memory, hours, money; loads no heavy library, opens no socket."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from phi_runner.artifacts import Dataset
from phi_runner.config import prices
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.plan import cost, hours, memory
from phi_runner.plan.advice import advise
from phi_runner.plan.bands import Band, Bill, Counts, Estimates, Figure, Memory, Missing
from phi_runner.plan.division import Division, divide
from phi_runner.plan.history import tokens_before
from phi_runner.plan.place import Place, place_of
from phi_runner.plan.shape import Shape, counts, shape_of
from phi_runner.plan.speed import Load, load_of, training_hours
from phi_runner.plan.text import Text, text_of
from phi_runner.store import Store

_NOTHING = Band(low=0.0, likely=0.0, high=0.0, unit="h", source="not trained by this run")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sized:
    """What is known of a run's training, each part or why it is missing."""

    shape: Shape | Missing
    place: Place | Missing
    text: Text | Missing
    counts: Counts | Missing
    division: Division | Missing
    load: Load | Missing


def estimate(
    config: RunConfig, *, store: Store, keys: Mapping[StageName, str], reused: Collection[StageName],
    dataset: Dataset | None,
) -> Estimates:  # fmt: skip
    """Return the size of a run; `reused` names the stages that will not run, `dataset` is the stored result, if any.

    A figure that cannot be known is a Missing, and what depends on it is one too.
    """
    computed = {StageName.train, StageName.evaluate} & set(config.stages) - set(reused)
    sized = _sized(config, store=store, keys=keys, dataset=dataset)
    peaks = tuple(_peaks(config, sized, stages=computed))
    training = _training_hours(config, sized, store=store) if StageName.train in computed else _NOTHING
    times = hours.by_stage(
        config, store=store, reused=reused, training=training, place=sized.place, shape=sized.shape, text=sized.text,
    )  # fmt: skip
    bills = cost.bills(config, hours=times, reused=reused)
    total, money = hours.plus(*times.values()), cost.summed([bill.usd for bill in bills], unit="USD")
    after = cost.summed([bill.usd_per_hour for bill in bills if bill.stays], unit="USD/h")
    return Estimates(
        counts=sized.counts, tokens=_tokens(sized.text), memory=peaks, hours=times, hours_total=total, bills=bills,
        usd_total=money, usd_per_hour_after=after, prices_as_of=prices.table().as_of if bills else "",
        advice=tuple(_advice(config, peaks, store=store, keys=keys, dataset=dataset)),
        missing=_missing(sized if computed else None, peaks, times, bills),
    )  # fmt: skip


def _sized(
    config: RunConfig, *, store: Store, keys: Mapping[StageName, str], dataset: Dataset | None,
    place: Place | None = None,
) -> _Sized:  # fmt: skip
    shape = shape_of(config, store=store, keys=keys)
    there = place or place_of(config)
    data = keys.get(StageName.data, "")
    text = text_of(config, dataset=dataset)
    if isinstance(text, Text) and (known := tokens_before(store, config=config, data=data)):
        text = replace(text, tokens=known, uncertainty=1.02, source="an earlier training on the same rows")
    if isinstance(shape, Missing) or isinstance(there, Missing):
        why = shape if isinstance(shape, Missing) else there
        assert isinstance(why, Missing)  # noqa: S101 - one of the two is
        counted = shape if isinstance(shape, Missing) else counts(shape, config.train)
        return _Sized(shape=shape, place=there, text=text, counts=counted, division=why, load=why)
    counted = counts(shape, config.train)
    division = divide(config, shape, counted, there, text)
    load = load_of(config, shape, division, text, data=data)
    return _Sized(shape=shape, place=there, text=text, counts=counted, division=division, load=load)


def _peaks(config: RunConfig, sized: _Sized, *, stages: Collection[StageName]) -> Iterator[Memory]:
    shape, place, division, counted = sized.shape, sized.place, sized.division, sized.counts
    if isinstance(shape, Missing) or isinstance(place, Missing):
        return
    if isinstance(division, Missing) or isinstance(counted, Missing):
        return
    if StageName.train in stages:
        yield memory.training(config, shape, counted, place, division)
    if StageName.evaluate in stages:
        yield memory.evaluating(config, shape, place, sized.text)


def _training_hours(config: RunConfig, sized: _Sized, *, store: Store) -> Figure:
    if isinstance(sized.load, Missing):
        return sized.load
    assert isinstance(sized.shape, Shape)  # noqa: S101 - without it there is no load
    assert isinstance(sized.place, Place)  # noqa: S101
    assert isinstance(sized.division, Division)  # noqa: S101
    return training_hours(config, sized.shape, sized.place, sized.division, sized.load, store=store)


def _tokens(text: Text | Missing) -> Figure:
    if isinstance(text, Missing):
        return text
    return Band(
        low=text.tokens / text.uncertainty, likely=text.tokens, high=text.tokens * text.uncertainty, unit="tokens",
        source=text.source,
    )  # fmt: skip


def _advice(
    config: RunConfig, peaks: tuple[Memory, ...], *, store: Store, keys: Mapping[StageName, str],
    dataset: Dataset | None,
) -> Iterator[str]:  # fmt: skip
    """Yield what to type where the training does not fit."""

    def attempt(changed: RunConfig, place: Place | None) -> Memory | None:
        sized = _sized(changed, store=store, keys=keys, dataset=dataset, place=place)
        found = next(_peaks(changed, sized, stages={StageName.train}), None)
        refused = isinstance(sized.division, Division) and sized.division.refused
        return None if refused else found

    for peak in peaks:
        if peak.stage is StageName.train and peak.fits is False:
            yield from advise(config, peak, attempt=attempt)


def _missing(
    sized: _Sized | None, peaks: tuple[Memory, ...], times: Mapping[StageName, Figure], bills: tuple[Bill, ...]
) -> tuple[str, ...]:
    found: list[object] = [sized.shape, sized.place, sized.text] if sized else []
    found += [figure for peak in peaks for figure in (peak.available, peak.per_process, peak.per_device)]
    found += [*times.values(), *(figure for bill in bills for figure in (bill.usd_per_hour, bill.hours))]
    return tuple(dict.fromkeys(item.what for item in found if isinstance(item, Missing)))
