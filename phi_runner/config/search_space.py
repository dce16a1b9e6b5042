"""What a search may try, read from overrides in Hydra's own grammar."""

from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException
from omegaconf import DictConfig

from phi_runner.search import samplers, space
from phi_runner.search.space import Axis, Choices, Interval, Plain


def split(texts: Sequence[str], *, loader: ConfigLoader | None = None) -> tuple[list[Axis], list[str]]:
    """Return the axes of a search, and the overrides that are the same in every trial; the later of two counts."""
    parsed = {item.get_key_element(): item for item in OverridesParser.create(loader).parse_overrides(list(texts))}
    axes = [axis(item) for item in parsed.values() if item.is_sweep_override()]
    fixed = [item.input_line or "" for item in parsed.values() if not item.is_sweep_override()]
    return axes, fixed


def axis(override: Override) -> Axis:
    """Return one swept override as an axis."""
    value, key = override.value(), override.get_key_element()
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        tags = tuple(sorted(value.tags))
        assert low is not None and high is not None  # noqa: S101, PT018 (the grammar has both)
        return Interval(key=key, low=low, high=high, log="log" in tags, tags=tags)
    if isinstance(value, RangeSweep) and not value.shuffle:
        return _range(key, value)
    found = list(override.sweep_iterator())
    return Choices(key=key, texts=tuple(map(_text, found)), values=tuple(map(_plain, found)))


def _range(key: str, swept: RangeSweep) -> Axis:
    """Return steps between two numbers; one or none of them is a list."""
    steps = list(swept.range())
    if len(steps) < 2:
        return Choices(key=key, texts=tuple(map(str, steps)), values=tuple(steps))
    low, high = min(steps), max(steps)
    return Interval(key=key, low=low, high=high, log="log" in swept.tags, step=abs(swept.step), tags=tuple(swept.tags))


def _plain(value: object) -> Plain:
    if isinstance(value, QuotedString):
        return value.text
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _text(value: Any) -> str:
    """Return a value as an override spells it; Hydra itself would spell a truth value as Python does."""
    return str(value).lower() if isinstance(value, bool) else str(Transformer.str(value))


def problems(texts: Sequence[str], *, settings: DictConfig) -> Iterator[str]:
    """Yield what is wrong with a search that Optuna is to make; `settings` is Hydra's own node of the sweeper."""
    sampler = str(settings.sampler)
    if told := samplers.problem(sampler):
        yield told
    for name in ("n_trials", "n_jobs"):
        if not isinstance(settings[name], int) or settings[name] < 1:
            yield f"hydra.sweeper.{name} must be at least 1: type hydra.sweeper.{name}=1"
    readable = [text for text in texts if _readable(text)]
    axes = [item for item in split(readable)[0] if not _globbed(item)]
    globbed = len(readable) > 0 and any("glob(" in text for text in readable)
    if axes or not globbed:
        yield from space.problems(axes, sampler=sampler)


def _readable(text: str) -> bool:
    try:
        return bool(OverridesParser.create().parse_override(text).key_or_group) and "glob(" not in text
    except HydraException:
        return False


def _globbed(item: Axis) -> bool:
    return isinstance(item, Choices) and not item.texts
