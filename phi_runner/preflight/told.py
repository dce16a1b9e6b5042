"""What the check leaves in the run's folder and says in the terminal."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phi_runner.artifacts import Dataset
from phi_runner.config.schema import RunConfig
from phi_runner.events import StageEvents
from phi_runner.preflight.judge import Judged, Status, line
from phi_runner.preflight.kinds import KINDS, Part
from phi_runner.preflight.result import Scan, TokenCount
from phi_runner.store import write_json

RESULT, PAGE = "data_check.json", "data_check.html"
_REPORT = "report.json"
_TOLD = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Everything that is known of the rows."""

    config: RunConfig
    dataset: Dataset
    scan: Scan
    tokens: TokenCount | None
    trouble: str
    """Why the tokens could not be counted."""
    found: list[Judged]

    @property
    def status(self) -> Status:
        """The worst of all."""
        return max((one.status for one in self.found), key=list(Status).index, default=Status.fine)

    def read(self) -> dict[str, Any]:
        """Return what the data stage reported: rows read, left out and repaired, with the reasons."""
        found: dict[str, Any] = json.loads((self.dataset.folder / _REPORT).read_text(encoding="utf-8"))
        return found


def values(checked: Checked) -> dict[str, Any]:
    """Return the whole check as JSON knows it."""
    tokens = checked.tokens
    return {
        "level": checked.status, "source": checked.dataset.source, "format": checked.dataset.format,
        "formats": checked.scan.formats, "summary": summary(checked), "read": checked.read(),
        "rows": {
            "looked_at": checked.scan.rows, "usable": checked.scan.usable, "held_out": checked.scan.held_out,
            "train": checked.dataset.train_rows, "test": checked.dataset.test_rows, "turns": checked.scan.turns,
        },
        "tokens": tokens.values() | {"steps": tokens.steps(checked.config)} if tokens else None,
        "trouble": checked.trouble, "findings": [_finding(one) for one in checked.found if one.finding.count],
        "not_found": [one.finding.kind for one in checked.found if not one.finding.count],
    }  # fmt: skip


def _finding(one: Judged) -> dict[str, Any]:
    kind = KINDS[one.finding.kind]
    about = {"title": kind.title, "part": kind.part, "share_of": kind.of, "advice": kind.advice}
    said = {"share": round(one.finding.share, 6), "bound": asdict(one.bound), "level": one.status, "message": line(one)}
    return asdict(one.finding) | said | about


def leave(checked: Checked, *, folder: Path) -> None:
    """Write the result and the page, each whole or not at all."""
    from phi_runner.preflight.page import page

    write_json(folder / RESULT, values(checked))
    aside = folder / f".{PAGE}.tmp"
    aside.write_text(page(checked), encoding="utf-8")
    aside.replace(folder / PAGE)


def tell(checked: Checked, *, events: StageEvents) -> None:
    """Say the summary, and one line for each of the first findings that warn or refuse."""
    events.info(f"data check: {summary(checked)}")
    if checked.trouble:
        events.warn(f"data check: tokens were not counted: {checked.trouble}")
    loud = [one for one in checked.found if one.status is Status.refused or _news(one)]
    loud.sort(key=lambda one: one.status is not Status.refused)
    for one in loud[:_TOLD]:
        place = one.finding.examples[0].place.rpartition("/")[2] if one.finding.examples else ""
        where = f"; the first is {place}" if place else ""
        events.warn(f"data check: {line(one)}{where}: {KINDS[one.finding.kind].advice}", share=one.finding.share)
    if len(loud) > _TOLD:
        events.warn(f"data check: {len(loud) - _TOLD} other warnings: see {PAGE} in the run folder")


def _news(one: Judged) -> bool:
    """Say whether a finding warns of something that the data stage has not warned of."""
    return one.status is Status.warning and KINDS[one.finding.kind].part is not Part.reading


def summary(checked: Checked) -> str:
    """Return the most important numbers in a sentence."""
    told = [f"{checked.scan.usable:,} of {checked.scan.rows:,} rows can be used"]
    tokens = checked.tokens
    if tokens and tokens.kept:
        about = "about " if tokens.estimated or tokens.counted < tokens.rows else ""
        scale = max(1.0, tokens.rows / tokens.counted)
        learnt = tokens.kept_taught / tokens.kept
        told.append(f"{about}{round(tokens.kept * scale):,} tokens to train on, {learnt:.0%} of them learnt")
        steps = tokens.steps(checked.config)
        told += [f"{about}{steps:,} optimiser steps"] if steps else []
    warned, refused = (
        sum(one.status is status for one in checked.found) for status in (Status.warning, Status.refused)
    )
    told.append(("1 warning" if warned == 1 else f"{warned} warnings") + (f", {refused} refused" if refused else ""))
    return ", ".join(told)
