"""From what was found to what is said: which findings warn, which end the run, which are meant."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum, auto

from phi_runner.config.schema import Bound, RunConfig, SampleData
from phi_runner.preflight.finding import Finding
from phi_runner.preflight.kinds import KINDS
from phi_runner.preflight.result import TokenCount

_MEANT = ("near_duplicates", "leakage", "system_prompts")
"""The shipped sample asks the same in several wordings and holds one of them out; it says so itself."""
_LEAST_ROWS = 20
"""Fewer rows than this are never refused: in three rows any share is large."""
STEPS = "few_steps"


class Status(StrEnum):
    """What a finding means for the run."""

    fine = auto()
    noted = auto()
    """Found, below the bound that is told, or meant to be so."""
    warning = auto()
    refused = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A finding, its bounds, and what follows."""

    finding: Finding
    bound: Bound
    status: Status


def judged(findings: list[Finding], config: RunConfig) -> list[Judged]:
    """Return each finding with what follows from the config's bounds, in the order of `KINDS`."""
    found = {finding.kind: finding for finding in findings}
    return [_judged(found[kind], config) for kind in KINDS if kind in found]


def _judged(finding: Finding, config: RunConfig) -> Judged:
    if finding.kind == STEPS:
        status = Status.warning if finding.count else Status.fine
        return Judged(finding=finding, bound=Bound(warn=0.0), status=status)
    bound: Bound = getattr(config.preflight, finding.kind)
    # a bound that was typed is meant as it stands
    default = bound == getattr(type(config.preflight)(), finding.kind)
    meant = default and isinstance(config.data, SampleData) and finding.kind in _MEANT
    status = Status.noted if finding.count else Status.fine
    if finding.count and not meant:
        if bound.warn is not None and finding.share >= bound.warn:
            status = Status.warning
        if bound.refuse is not None and finding.share >= bound.refuse and not (default and finding.of < _LEAST_ROWS):
            status = Status.refused
    return Judged(finding=finding, bound=bound, status=status)


def of_tokens(tokens: TokenCount, config: RunConfig) -> Iterator[Finding]:
    """Yield the findings about lengths and steps."""
    limit, left = config.train.max_length, tokens.counted - tokens.dropped
    lost = tokens.taught - tokens.kept_taught
    cut = f"train.max_length={limit} cuts {tokens.shortened} dialogues and drops {tokens.dropped}"
    yield Finding(kind="truncated_tokens", count=lost, of=tokens.taught, note=cut if lost or tokens.dropped else "")
    yield Finding(kind="unsupervised", count=tokens.kept - tokens.kept_taught, of=tokens.kept)
    steps = tokens.steps(config)
    rows = f"{left} dialogues pack to {tokens.packed} rows" if tokens.packed < left else f"{tokens.packed} rows"
    note = f"{rows} of up to {limit} tokens, {steps} steps with train.epochs={config.train.epochs}"
    few = 0 < steps < config.preflight.least_steps
    yield Finding(kind=STEPS, count=int(few), of=1, note=note if steps else "")


def refusal(found: list[Judged], *, page: str) -> str:
    """Return why the run ends and what to type, in one line; nothing where it goes on."""
    refused = [one for one in found if one.status is Status.refused]
    if not refused:
        return ""
    said = "; ".join(f"{line(one)} (preflight.{one.finding.kind}.refuse={one.bound.refuse:g})" for one in refused)
    first = refused[0].finding.kind
    return f"the data check refuses these rows: {said}: see {page}, mend them, or type preflight.{first}.refuse=null"


def line(one: Judged) -> str:
    """Say a finding in one line."""
    finding, kind = one.finding, KINDS[one.finding.kind]
    if finding.kind == STEPS:
        return f"{kind.title}: {finding.note}"
    share = f"{finding.count:,} of {finding.of:,} {kind.of} ({finding.share:.1%})"
    note = f": {finding.note}" if finding.note else ""
    return f"{kind.title}: {share}{note}"
