"""The leaderboard in the terminal."""

import sys
from pathlib import Path

from phi_runner.plots.sweep import short
from phi_runner.sweep.leaderboard import Leaderboard, Row
from phi_runner.sweep.trials import spelled

WIDTH_WHEN_PIPED = 140
_MORE = {
    "loss_before": "loss before",
    "loss_after": "loss after",
    "exact_after": "exact",
    "f1_after": "F1",
    "preferred_after": "preferred",
}
"""Figures that are told beside the objective, where any trial has them."""


def show(board: Leaderboard) -> None:
    """Print the trials in order, one row each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_WHEN_PIPED)
    table = Table(caption=_caption(board))
    for column in columns(board):
        table.add_column(
            column, justify="left" if column in {*board.keys, "trial", "status"} else "right", overflow="fold"
        )
    for row in board.rows:
        style = "bold" if row is board.best else "dim" if row.rank is None else ""
        table.add_row(*(Text(cell) for cell in cells(row, board=board)), style=style)
    console.print(table)
    if told := distinct(board):
        console.print(Text(told))


def say_where(board: Leaderboard, *, folder: Path) -> None:
    """Print where everything lies, and how to go on with the best trial."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for name, about in (("best.yaml", "best trial as a recipe"), ("report.html", "report")):
        if (folder / name).is_file():
            console.print(Text(f"{about}: {folder / name}"))
    console.print(Text(f"sweep folder: {folder}"))


def columns(board: Leaderboard) -> list[str]:
    """Return the titles: rank, trial, the swept keys by their shortest distinct names, figures, and how it went."""
    return [
        "rank",
        "trial",
        *short(board.keys),
        _title(board),
        "to best",
        *_further(board).values(),
        "seconds",
        "status",
    ]


def cells(row: Row, *, board: Leaderboard) -> list[str]:
    """Return one row as text, in the order of `columns`."""
    trial = row.trial
    difference = "" if not row.difference else f"{row.difference:+.4f}"
    figures = [_number(trial.metrics.get(name)) for name in _further(board)]
    tries = f", {trial.tries} tries" if trial.tries > 1 else ""
    status = f"{trial.status}{tries}" + (f": {trial.error}" if trial.error else "")
    return [
        "" if row.rank is None else str(row.rank), trial.id[:8],
        *("" if key not in trial.values else spelled(trial.values[key]) for key in board.keys),
        _number(row.value), difference, *figures, f"{trial.seconds:.1f}" if trial.seconds else "", status,
    ]  # fmt: skip


def distinct(board: Leaderboard) -> str:
    """Say which trials the best one cannot be told from, by the cards' intervals, or nothing."""
    best = board.best
    if best is None or best.value is None:
        return ""
    level = [row for row in board.ranked[1:] if row.low is not None and row.high is not None]
    near = [row.trial.id[:8] for row in level if (row.low or 0.0) <= best.value <= (row.high or 0.0)]
    return f"not clearly worse than the best, by their own intervals: {', '.join(near)}" if near else ""


def _title(board: Leaderboard) -> str:
    return f"{board.objective.title} {'↑' if board.objective.maximise else '↓'}"


def _further(board: Leaderboard) -> dict[str, str]:
    known = [name for name in _MORE if any(row.trial.metrics.get(name) is not None for row in board.rows)]
    return {name: _MORE[name] for name in known if name != board.objective.name}


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _caption(board: Leaderboard) -> str:
    told = [f"{count} {status}" for status, count in board.counts.items()]
    others = f"; {len(board.others)} of earlier calls in the folder" if board.others else ""
    return f"{len(board.rows)} trials: {', '.join(told)}{others}"
