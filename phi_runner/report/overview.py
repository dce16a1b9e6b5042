"""The top of a run's page: how it ended, what ran, what was reused and why, and what to type next."""

import time

from markupsafe import Markup

from phi_runner.pages import pieces
from phi_runner.pages.frame import Section
from phi_runner.pages.pieces import Tone
from phi_runner.report import card
from phi_runner.report.run_folder import RunFolder, StageView, number, rows, text

_TONES = {
    "done": Tone.good, "reused": Tone.plain, "skipped": Tone.plain, "waiting": Tone.plain, "running": Tone.warn,
    "failed": Tone.bad, "interrupted": Tone.bad, "half-written": Tone.bad, "pruned": Tone.warn,
}  # fmt: skip
_KEY = 12
_LOG_LINES = 15
_LONGEST = 140
"""Letters of a result's summary: a flow's may hold a whole answer, which stands further down."""


def status_badge(status: str) -> Markup:
    """Return how a run or a stage ended as a badge."""
    return pieces.badge(status, tone=_TONES.get(status, Tone.plain))


def clock(at: float | None) -> str:
    """Return a time as a person writes it, in this machine's zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at)) if at else ""


def duration(seconds: float | None) -> str:
    """Return a duration with the unit that suits it."""
    if seconds is None:
        return "-"
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def subtitle(run: RunFolder) -> str:
    """Return recipe, time and duration in one line."""
    recipe = text(run.record, "recipe")
    parts = [f"recipe {recipe}" if recipe else "no recipe", clock(number(run.record, "started_at"))]
    seconds = number(run.record, "seconds")
    return " · ".join(part for part in (*parts, duration(seconds) if seconds else "") if part)


def lead(run: RunFolder, *, trace: str = "") -> Markup:
    """Return how the run ended, with the failure and the next command where there was one, and its best figures."""
    return pieces.join(
        Markup("<p>{}</p>").format(Markup(" ").join([status_badge(run.status), *_headline(run)])),
        None if run.status == "done" else _trouble(run, trace=trace),
        *(pieces.notice(problem, tone=Tone.warn) for problem in run.problems),
    )


def _headline(run: RunFolder) -> list[str]:
    """Say in a few words what came out: the last made results, most telling first."""
    told = {stage.name: stage.summary for stage in run.stages if stage.summary}
    return [card.arrow(told[name]) for name in ("evaluate", "deploy", "train", "data") if name in told][:1]


def _trouble(run: RunFolder, *, trace: str) -> Markup:
    failed = next((stage for stage in run.stages if stage.status in ("failed", "interrupted")), None)
    error = text(run.record, "error") or "the run has written nothing of its end"
    command = text(run.record, "command")
    if not run.ended:
        error = "the run is still going on, or it was killed: this page shows what it had written by then"
    where = Markup("<strong>{}</strong>: ").format(f"{failed.name} {failed.status}") if failed else Markup("")
    return pieces.notice(
        pieces.join(
            pieces.paragraph(where + error),
            pieces.paragraph("What is finished is kept. To go on, type:") if command else None,
            pieces.code(command) if command else None,
            pieces.folded("For developers: the traceback", body=pieces.code(trace)) if trace else None,
        ),
        tone=Tone.bad if run.ended else Tone.warn,
    )


def stages(run: RunFolder) -> Section | None:
    """Return the stages with what each did, then warnings and the end of the log."""
    if not run.stages:
        return None
    columns = ["stage", "status", "seconds", "why", "result", "key"]
    shown = [_row(stage) for stage in run.stages]
    body = pieces.join(
        pieces.table(columns, shown, stack=True),
        _reads(run),
        _warnings(run),
        None if run.status == "done" else _log(run),
    )
    return Section(id="stages", title="What ran", body=body)


def _row(stage: StageView) -> list[pieces.Cell]:
    seconds = round(stage.seconds, 1) if stage.status in ("done", "running") else None
    why = "nothing it depends on has changed" if stage.why == "unchanged" else stage.why
    key = pieces.word(stage.key[:_KEY]) if stage.key else ""
    return [
        Markup("<strong>{}</strong>").format(stage.name),
        status_badge(stage.status),
        seconds,
        why,
        card.arrow(_short(stage.summary)),
        key,
    ]


def _short(said: str) -> str:
    return said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"


def _events(run: RunFolder, kind: str) -> list[dict[str, object]]:
    return [event for event in rows(run.record.get("events")) if event.get("kind") == kind]


def _reads(run: RunFolder) -> Markup | None:
    """Name results of earlier runs that this one only read."""
    told = [f"{text(event, 'stage')} {text(event, 'message')}" for event in _events(run, "info")]
    read = [line for line in told if " reads " in line and "(" in line]
    return pieces.paragraph("From earlier runs: " + "; ".join(read), note=True) if read else None


def _warnings(run: RunFolder) -> Markup | None:
    said = dict.fromkeys(
        f"{text(event, 'stage') or 'run'}: {text(event, 'message')}" for event in _events(run, "warning")
    )
    return pieces.join(pieces.heading("Warnings"), pieces.bullets(said)) if said else None


def _log(run: RunFolder) -> Markup | None:
    try:
        lines = (run.folder / "run.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return pieces.join(pieces.heading("The last lines of run.log"), pieces.code("\n".join(lines[-_LOG_LINES:])))
