"""The end of a sweep: its leaderboard in the terminal, and beside the trials what is worth keeping."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from phi_runner.config import endings
from phi_runner.errors import PhiRunnerError
from phi_runner.search.study import MEMBERS
from phi_runner.store import write_json
from phi_runner.sweep import best, leaderboard, page, parent, pictures, settings, table, trials
from phi_runner.sweep.leaderboard import Leaderboard
from phi_runner.sweep.settings import Settings
from phi_runner.sweep.trials import spelled


def finish(folder: Path, *, asked: Collection[str] | None = None) -> bool:
    """Show the leaderboard, leave `leaderboard.json`, plots, `best.yaml` and `report.html`; say whether all ended well.

    `asked` are the ids of the trials of this call; the others in the folder are told apart.
    """
    told = settings.read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = trials.read(folder)
    board = leaderboard.of(found, objective=told.compared_by, name=folder.name, asked=_members(folder, asked))
    table.show(board)
    document = board.document()
    if not (folder / page.FILE).is_file() or _known(folder) != document:
        write_json(folder / leaderboard.FILE, document)
        _adorn(board, folder=folder, told=told)
    table.say_where(board, folder=folder)
    return board.ended_well and bool(board.rows)


def _adorn(board: Leaderboard, *, folder: Path, told: Settings) -> None:
    """Leave what people look at; hours of trials are not lost for a plot, so what goes wrong here is only said."""
    recipe = ""
    with _said("best.yaml was not written"):
        file = best.write(board, folder=folder)
        recipe = file.read_text(encoding="utf-8") if file else ""
    with _said("report.html is not complete"):
        plots = pictures.draw(board, folder=folder)
        (folder / page.FILE).write_text(page.render(board, plots=plots, recipe=recipe), encoding="utf-8")
    with _said("the sweep's run in the tracker is not complete"):
        _track(board, folder=folder, told=told)


@contextmanager
def _said(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, PhiRunnerError) as err:
        endings.say(f"warning: {what}: {endings.failure(err)}")


def _track(board: Leaderboard, *, folder: Path, told: Settings) -> None:
    first = board.best
    files = [folder / name for name in (leaderboard.FILE, best.FILE, page.FILE, "parallel.png", "history.png")]
    values = {key: spelled(value) for key, value in first.trial.values.items()} if first else {}
    metrics = {f"best_{board.objective.name}": first.value} if first and first.value is not None else {}
    counts = {f"trials_{status.replace(' ', '_')}": float(count) for status, count in board.counts.items()}
    parent.finish(
        told.tracking, outputs=Path(told.outputs), folder=folder,
        best=values | ({"trial": first.trial.id} if first else {}), metrics=metrics | counts,
        files=[file for file in files if file.is_file()],
    )  # fmt: skip


def _members(folder: Path, asked: Collection[str] | None) -> list[str] | None:
    """Return the ids of the trials to compare: those of this call, and where a study was made all that it knows."""
    if asked is None:
        return None
    known = _json(folder / MEMBERS)
    return list(dict.fromkeys([*asked, *(known if isinstance(known, list) else [])]))


def _known(folder: Path) -> object:
    """Return the leaderboard that an earlier call has left."""
    return _json(folder / leaderboard.FILE)


def _json(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
