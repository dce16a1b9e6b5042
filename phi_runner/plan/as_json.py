"""A plan as one JSON document for machines: `plan=json` prints it, a run leaves it as `plan.json`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from phi_runner import __version__
from phi_runner.plan.bands import Missing
from phi_runner.plan.document import Plan

VERSION = 1
"""Of the document's form; a field may come new within a version, none goes or changes its meaning."""


def document(plan: Plan) -> dict[str, Any]:
    """Return the plan of one run; figures are `{low, likely, high, unit, source}` or `{missing}`."""
    found: dict[str, Any] = _plain(plan)
    return {"version": VERSION, "phi_runner": __version__} | found | {"stops": plan.stops}


def documents(plans: Sequence[Plan], *, owns: Sequence[Sequence[str]], trials: int) -> dict[str, Any]:
    """Return the plans of a sweep's trials; `trials` counts all of them, the list may hold the first ones."""
    found = [{"own": list(own)} | document(plan) for own, plan in zip(owns, plans, strict=True)]
    return {"version": VERSION, "phi_runner": __version__, "trials": trials, "plans": found}


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it; enumerations are texts already."""
    if isinstance(value, Missing):
        return {"missing": value.what}
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
