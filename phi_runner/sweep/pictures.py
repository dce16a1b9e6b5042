"""The plots of a sweep: PNG files beside the trials, and the same as SVG for its page."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.search.importance import importances
from phi_runner.sweep.leaderboard import Leaderboard

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One plot."""

    name: str
    caption: str
    svg: str


def draw(board: Leaderboard, *, folder: Path) -> list[Picture]:
    """Write `<name>.png` for each plot and return all of them."""
    from phi_runner.plots import sweep

    found = []
    for name, caption, figure in _figures(board):
        sweep.png(figure, folder / f"{name}.png")
        found.append(Picture(name=name, caption=caption, svg=sweep.svg(figure)))
    return found


def _figures(board: Leaderboard) -> "Iterator[tuple[str, str, Any]]":
    from phi_runner.plots import sweep
    from phi_runner.plots.parallel import parallel

    points = [
        sweep.Point(
            values=row.trial.values, value=row.value if row.rank is not None else None, status=row.status,
            best=row is board.best,
        )
        for row in sorted(board.rows, key=lambda row: (row.trial.started_at, row.trial.number))
    ]  # fmt: skip
    title, maximise = board.objective.title, board.objective.maximise
    if board.keys:
        caption = "Each line is a trial; the red one is the best, dotted ones were pruned or failed"
        yield "parallel", caption, parallel(points, title=title, maximise=maximise)
    yield (
        "history",
        f"{title.capitalize()} of the trials and the best so far",
        sweep.history(points, title=title, maximise=maximise),
    )
    finished = [(point.values, point.value) for point in points if point.value is not None]
    shares, why_not = importances(finished)
    caption = "How much each swept key explains of the differences between the finished trials (fANOVA)"
    yield "importance", caption, sweep.importance(shares, why_not=why_not)
