"""`report.html` of a sweep: the leaderboard, the plots, the best trial as a recipe, and what went wrong."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from phi_runner.pages import pictures, pieces
from phi_runner.pages.frame import Section, page
from phi_runner.pages.pieces import Cell, Tone
from phi_runner.sweep import table
from phi_runner.sweep.leaderboard import Leaderboard, Row
from phi_runner.sweep.pictures import Picture
from phi_runner.sweep.trials import in_words

FILE = "report.html"
_TONES = {"done": Tone.good, "failed": Tone.bad, "pruned": Tone.plain}


def render(board: Leaderboard, *, plots: Sequence[Picture], recipe: str) -> str:
    """Return the page; `recipe` is the text of `best.yaml`, empty where there is none."""
    return page(
        f"Sweep {board.name}",
        subtitle=f"{len(board.rows)} trials, by {board.objective.title}",
        lead=_lead(board),
        sections=_sections(board, plots=plots, recipe=recipe),
        foot="The same in files beside this page: leaderboard.json, best.yaml, *.png, and a folder for each trial.",
    )


def _lead(board: Leaderboard) -> Markup:
    best = board.best
    if best is None or best.value is None:
        return pieces.notice(f"No trial has come to a {board.objective.title} so far.", tone=Tone.warn)
    tried = f" with {in_words(best.trial.values)}" if best.trial.values else ""
    told = pieces.paragraph(f"Best: {board.objective.title} {best.value:.4f}{tried}.")
    near = table.distinct(board)
    return pieces.notice(pieces.join(told, pieces.paragraph(near, note=True) if near else None), tone=Tone.good)


def _sections(board: Leaderboard, *, plots: Sequence[Picture], recipe: str) -> Iterator[Section]:
    counts = ", ".join(f"{count} {status}" for status, count in board.counts.items())
    yield Section(id="leaderboard", title="Leaderboard", body=_table(board, board.rows, caption=counts))
    if plots:
        drawn = [pictures.svg(plot.svg, caption=plot.caption, paper=True) for plot in plots]
        yield Section(id="plots", title="Plots", body=pictures.plots(*drawn))
    if recipe:
        yield Section(id="best", title="Best trial as a recipe", body=_recipe(recipe))
    lost = [row for row in board.rows if row.trial.error and row.status != "done"]
    if lost:
        yield Section(id="lost", title="Pruned and failed", body=_lost(lost))
    if board.others:
        caption = "Made by earlier calls in this folder and not asked for this time"
        yield Section(id="others", title="Other trials", body=_table(board, board.others, caption=caption))


def _table(board: Leaderboard, rows: Sequence[Row], *, caption: str) -> Markup:
    columns = [title for title in table.columns(board) if title != "status"]
    found: list[list[Cell | pieces.Text | pieces.Right]] = []
    figures = 2 + len(board.keys)
    for row in rows:
        told = table.cells(row, board=board)[:-1]
        cells: list[Cell | pieces.Text | pieces.Right] = [*told[:figures], *map(pieces.Right, told[figures:])]
        cells[1] = pieces.link(row.trial.id[:8], to=f"{row.trial.id}/report.html")
        reused = ", ".join(row.trial.reused)
        status = pieces.badge(row.status, tone=_TONES.get(row.status, Tone.warn))
        cells += [status, row.trial.tries or None, reused]
        found.append(cells)
    return pieces.table([*columns, "status", "tries", "reused stages"], found, caption=caption)


def _recipe(text: str) -> Markup:
    how = pieces.join(
        pieces.paragraph("best.yaml beside this page. Copy it, and train with it from anywhere:"),
        pieces.code("cp best.yaml recipes/best.yaml\npython -m phi_runner +recipe=best"),
    )
    return pieces.join(pieces.code(text), how)


def _lost(rows: Sequence[Row]) -> Markup:
    found: list[list[Cell | pieces.Text]] = [
        [row.trial.id[:8], in_words(row.trial.values), row.status, pieces.Text(row.trial.error)] for row in rows
    ]
    told = pieces.paragraph("The same command tries the failed ones again; pruned ones count as finished.", note=True)
    return pieces.join(pieces.table(["trial", "tried", "status", "why"], found, stack=True), told)
