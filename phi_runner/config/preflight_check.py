"""Whether the bounds of the data check are shares, and its counts counts."""

from collections.abc import Iterator
from dataclasses import fields

from phi_runner.config.ranges import Range
from phi_runner.config.schema import Bound, RunConfig

_SHARE = Range(0, 1, such_as="0.01")
_COUNT = Range(1)
_MAYBE = Range(0)
_NUMBERS = {"rows": _COUNT, "token_rows": _COUNT, "examples": _MAYBE, "least_steps": _MAYBE}


def problems(config: RunConfig) -> Iterator[str]:
    """Yield one sentence for each number of `preflight` that cannot be meant."""
    for item in fields(config.preflight):
        value = getattr(config.preflight, item.name)
        if isinstance(value, Bound):
            for side, share in (("warn", value.warn), ("refuse", value.refuse)):
                if share is not None and not _SHARE.holds(share):
                    yield _said(f"{item.name}.{side}", share, _SHARE)
        elif item.name in _NUMBERS and not _NUMBERS[item.name].holds(value):
            yield _said(item.name, value, _NUMBERS[item.name])


def _said(key: str, value: float, allowed: Range) -> str:
    typed = allowed.such_as or format(allowed.low, "g")
    return f"preflight.{key}={value} is out of range, {allowed}: type preflight.{key}={typed}"
