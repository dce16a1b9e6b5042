"""A plan for people: one table of the stages, then short lists; reads well at 80 columns, piped too."""

import os
import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phi_runner.plan import sections
from phi_runner.plan.document import Plan, StagePlan, Verdict
from phi_runner.plan.sections import Row
from phi_runner.plan.shared import Trials

_WIDTH_WHEN_PIPED = 100
_STYLES = {Verdict.run: "bold", Verdict.reuse: "green", Verdict.stop: "bold red", Verdict.unreached: "red"}
_KEY = 12


def whole(plan: Plan) -> None:
    """Print everything that the plan holds."""
    console = _console()
    console.print(Text(f"plan of {' '.join(plan.overrides) or 'the default run'}: nothing is done", style="bold"))
    console.print(_stages(plan.stages))
    for title, rows in sections.of(plan):
        _section(console, title, rows)
    console.print(Text(_last_line(plan), style="bold red" if plan.stops else "green"))


def trials(found: Trials) -> None:
    """Print one row a trial; a stage that several trials share counts where it runs first."""
    console = _console()
    console.print(Text(f"plan of {found.trials} trials: nothing is done", style="bold"))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("trial", "own values", "runs", "shares or reuses", "time", "cost"):
        table.add_column(column, overflow="fold", no_wrap=column == "own values")
    for trial in found.rows:
        table.add_row(*(Text(cell) for cell in trial))
    console.print(table)
    for title, rows in found.sections:
        _section(console, title, rows)


def _console() -> Console:
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH_WHEN_PIPED
    return Console(highlight=False, width=width)


def _stages(stages: Sequence[StagePlan]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    table.add_column("plan")
    table.add_column("why", overflow="fold", ratio=1)
    table.add_column("result")
    for stage in stages:
        mark = Text(stage.verdict, style=_STYLES.get(stage.verdict, "dim"))
        table.add_row(Text(stage.name), mark, _why(stage), Text(stage.key[:_KEY] if stage.output else ""))
    return table


def _why(stage: StagePlan) -> Text:
    text = Text("; ".join(filter(None, (stage.why, stage.unsure))))
    read = [f"{item.stage} {item.key[:_KEY] or '(not known yet)'}{_origin(item.origin)}" for item in stage.inputs]
    if read:
        text.append(f"\nreads {', '.join(read)}", style="dim")
    return text


def _origin(origin: str) -> str:
    return "" if origin == "this run" else f" ({origin})"


def _section(console: Console, title: str, rows: Iterable[Row]) -> None:
    listed = list(rows)
    if not listed:
        return
    console.print(Text(title, style="bold"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    columns = max(len(row) for row in listed)
    grid.add_column()
    for number in range(columns):
        grid.add_column(overflow="fold", no_wrap=number == 0 and columns > 1)
    for row in listed:
        grid.add_row("", *(Text(cell) for cell in row))
    console.print(grid)


def _last_line(plan: Plan) -> str:
    if plan.stops:
        return "the run as typed would stop: see above"
    return f"results go to {plan.outputs}/store/STAGE/RESULT; leave plan out to run"
