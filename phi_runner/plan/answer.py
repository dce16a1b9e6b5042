"""The two ways in: answer `plan=true` and `plan=json`, and lay a real run's plan out before its first stage."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from phi_runner.config.planning import Asked
from phi_runner.config.schema import RunConfig
from phi_runner.errors import MissingInput
from phi_runner.plan import as_json, limits, lines
from phi_runner.plan.document import Plan, Verdict
from phi_runner.plan.make import made
from phi_runner.store import write_json

PLAN_FILE = "plan.json"
WOULD_STOP = 1
"""Exit code of a plan whose run would be refused, or would stop before its end."""


def plan(asked: Sequence[Asked], *, machines: bool, trials: int) -> int:
    """Print the plan of a run, or of a sweep's trials, and return the exit code; changes nothing."""
    plans = [
        made(
            one.config, overrides=list(one.overrides), recipe=one.recipe, hindrances=one.hindrances,
            warnings=one.warnings,
        )
        for one in asked
    ]  # fmt: skip
    owns, swept = [one.own for one in asked], trials > 1 or len(plans) > 1
    if machines:
        found = as_json.documents(plans, owns=owns, trials=trials) if swept else as_json.document(plans[0])
        sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    else:
        _print(plans, owns=owns, trials=trials, swept=swept)
    return WOULD_STOP if any(one.stops for one in plans) else 0


def _print(plans: Sequence[Plan], *, owns: Sequence[Sequence[str]], trials: int, swept: bool) -> None:
    from phi_runner.plan import shared, show  # rich, which machines do without

    if swept:
        show.trials(shared.side_by_side(plans, owns=owns, trials=trials))
    else:
        show.whole(plans[0])


def lay_out(
    config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, say: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:  # fmt: skip
    """Say what a run will do and leave it as `plan.json` in its folder.

    Raises LimitExceeded, and MissingInput where work would be done first that leads to nothing.
    """
    found = made(config, overrides=overrides, recipe=recipe)
    for line in lines.compact(found):
        say(line)
    for line in limits.told(found):
        warn(line)
    write_json(folder / PLAN_FILE, as_json.document(found))
    limits.enforce(found)
    if found.problems and any(stage.verdict is Verdict.run for stage in found.stages):
        raise MissingInput("; ".join(found.problems))
