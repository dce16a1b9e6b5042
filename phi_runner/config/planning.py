"""Every run, or trial of a sweep, that a command line with `plan=true` asks to have planned."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from omegaconf import DictConfig

from phi_runner.config import apply, check, hydra, sweep_job
from phi_runner.config.composed import Composer, Picked, task
from phi_runner.config.load import load
from phi_runner.config.plan_mode import Mode
from phi_runner.config.schema import RunConfig
from phi_runner.config.typed import Sweep, Typed
from phi_runner.config.vocabulary import RECIPE

MOST = 50
"""Trials of a sweep that are planned one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One run, or one trial of a sweep, that is to be planned."""

    config: RunConfig
    overrides: tuple[str, ...]
    recipe: str
    own: tuple[str, ...] = ()
    """The overrides in which it differs from the other trials."""
    hindrances: tuple[str, ...] = ()
    """What would refuse the run, but not its plan."""
    warnings: tuple[str, ...] = ()


def mode(base: DictConfig, items: Sequence[Typed]) -> Mode:
    """Return what a command line asks for; `base` holds what its presets say. A wrong value is left to the checks."""
    typed = [str(item.values[0]) for item in items if item.key == "plan"]
    text = (typed[-1] if typed else str(base.get("plan"))).strip().lower()
    return Mode(text) if text in set(Mode) else Mode.no


def asked(composer: Composer, items: Sequence[Typed], *, multirun: bool, most: int = MOST) -> tuple[Asked, ...]:
    """Compose the runs that the overrides ask for, at most `most`; raises ConfigProblem for what cannot be planned."""
    picks = list(itertools.islice(_grid(items), most))
    found = [_one(composer, picked, multirun=multirun) for picked in picks]
    if found and found[0].config.azure.sweep and multirun:
        return (_as_one_job(found[0], items),)
    return tuple(found)


def count(items: Sequence[Typed]) -> int:
    """Return how many trials the overrides ask for; an interval counts as one."""
    total = 1
    for item in items:
        total *= len(_values(item))
    return total


def _values(item: Typed) -> tuple[object, ...]:
    return item.values[:1] if item.sweep is Sweep.interval else item.values


def _grid(items: Sequence[Typed]) -> Iterator[Picked]:
    for values in itertools.product(*(_values(item) for item in items)):
        yield list(zip(items, values, strict=True))


def _one(composer: Composer, picked: Picked, *, multirun: bool) -> Asked:
    node = composer.trial(picked)
    choices = node.hydra.runtime.choices
    with hydra.as_job(node):
        config = load(task(node), choices=apply.choices(node))
    typed = [(item, item.spelled(value)) for item, value in picked]
    return Asked(
        config=config, overrides=tuple(text for _item, text in typed), recipe=str(choices.get(RECIPE) or ""),
        own=tuple(text for item, text in typed if item.sweep is not Sweep.none),
        hindrances=tuple(check.hindrances(config, multirun=multirun)), warnings=tuple(check.warnings(config)),
    )  # fmt: skip


def _as_one_job(first: Asked, items: Sequence[Typed]) -> Asked:
    """Return the one run that a sweep job of the workspace is."""
    grid = list(sweep_job.of(items, brought=()).grid)
    sweep = replace(first.config.sweep, grid=grid)
    return replace(first, config=replace(first.config, sweep=sweep), own=tuple(grid))
