"""Whether the bounds of the data check are shares."""

from collections.abc import Iterator
from dataclasses import fields

from phi_runner.config.ranges import Range
from phi_runner.config.schema import Bound, RunConfig

_SHARE = Range(0, 1, such_as="0.01")


def problems(config: RunConfig) -> Iterator[str]:
    """Yield one sentence for each bound of `preflight` that cannot be meant."""
    for item in fields(config.preflight):
        value = getattr(config.preflight, item.name)
        if isinstance(value, Bound):
            for side, share in (("warn", value.warn), ("refuse", value.refuse)):
                if share is not None and not _SHARE.holds(share):
                    yield _said(f"{item.name}.{side}", share, _SHARE)


def _said(key: str, value: float, allowed: Range) -> str:
    typed = allowed.such_as or format(allowed.low, "g")
    return f"preflight.{key}={value} is out of range, {allowed}: type preflight.{key}={typed}"
