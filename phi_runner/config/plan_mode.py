"""What `plan` may be: `true` for people, `json` for machines, `false` for a run."""

from collections.abc import Iterator
from enum import StrEnum

from phi_runner.config import typo
from phi_runner.config.schema import RunConfig


class Mode(StrEnum):
    """What a run is asked for."""

    no = "false"
    people = "true"
    machines = "json"


def mode_of(config: RunConfig) -> Mode:
    """Return what the config asks for; a value that the checks refuse asks for nothing."""
    typed = config.plan.strip().lower()
    return Mode(typed) if typed in set(Mode) else Mode.no


def problems(config: RunConfig) -> Iterator[str]:
    """Yield that `plan` has a value that it cannot have."""
    typed = config.plan.strip().lower()
    if typed not in set(Mode):
        near = typo.nearest(typed, list(Mode)) or [Mode.people]
        yield f"plan={config.plan} is none of true, json, false{typo.did_you_mean([f'plan={near[0]}'])}"
