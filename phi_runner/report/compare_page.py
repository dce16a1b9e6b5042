"""`compare.html` and the terminal's tables: runs side by side."""

from collections.abc import Sequence

from markupsafe import Markup

from phi_runner import __version__
from phi_runner.pages import pictures, pieces
from phi_runner.pages.frame import Section, page
from phi_runner.pages.pieces import Cell, TableCell, Text
from phi_runner.plots.lines import Series, lines
from phi_runner.report import compare, overview, settings, training
from phi_runner.report.compare import Row
from phi_runner.report.run_folder import RunFolder, number, text
from phi_runner.report.secrets import blotted

_ANSWERS = 100
_OPEN = 12
_CURVES = (
    ("loss", "Training loss", "loss"),
    ("eval_loss", "Held-out loss", "loss"),
    ("learning_rate", "Learning rate", "learning rate"),
)


def render(runs: Sequence[RunFolder]) -> str:
    """Return the page of two or more runs, without anything that looks like a key."""
    made = [_runs(runs), _figures(runs), _curves(runs), _settings(runs), _data(runs), _answers(runs), _versions(runs)]
    html = page(
        " and ".join(run.name for run in runs) if len(runs) < 3 else f"{len(runs)} runs",
        subtitle="Runs side by side",
        sections=[section for section in made if section],
        foot=f"Made by phi_runner {__version__}; it needs no network and holds no key.",
    )
    return blotted(html)


def _runs(runs: Sequence[RunFolder]) -> Section:
    shown: list[list[TableCell]] = []
    for letter, run in zip(compare.letters(runs), runs, strict=True):
        said = text(run.record, "error") or ", ".join(run.problems)
        started, seconds = overview.clock(number(run.record, "started_at")), number(run.record, "seconds")
        recipe = text(run.record, "recipe")
        shown.append([letter, run.name, overview.status_badge(run.status), recipe, started, seconds, said])
    columns = ["", "run", "status", "recipe", "started", "seconds", "what went wrong"]
    notes = [pieces.code(text(run.record, "command")) for run in runs if text(run.record, "command")]
    folded = pieces.folded("What was typed", body=pieces.join(*notes)) if notes else None
    return Section(id="runs", title="Runs", body=pieces.join(pieces.table(columns, shown, stack=True), folded))


def _section(name: str, title: str, runs: Sequence[RunFolder], found: Sequence[Row], *, same: str) -> Section:
    rows = [[row.name, *(_value(value) for value in row.values)] for row in found]
    columns = ["", *compare.letters(runs)]
    body = pieces.table(columns, rows, stack=True) if rows else pieces.paragraph(same)
    return Section(id=name, title=title, body=body)


def _value(found: object) -> Cell:
    if found is None:
        return "-"
    return found if isinstance(found, int | float) and not isinstance(found, bool) else settings.value(str(found))


def _settings(runs: Sequence[RunFolder]) -> Section:
    return _section("settings", "Settings that differ", runs, compare.settings(runs), same="All settings are the same.")


def _data(runs: Sequence[RunFolder]) -> Section:
    return _section("data", "Data", runs, compare.data(runs), same="No run has read any data.")


def _versions(runs: Sequence[RunFolder]) -> Section:
    same = "All ran with the same versions on the same machine."
    return _section("versions", "Versions that differ", runs, compare.versions(runs), same=same)


def _figures(runs: Sequence[RunFolder]) -> Section:
    letters = compare.letters(runs)
    apart = [f"{letter} - {letters[0]}" for letter in letters[1:]]
    rows: list[list[TableCell]] = []
    for row in compare.figures(runs):
        rows.append([row.name, *row.values, *row.differences()])
    columns = ["figure", *letters, *apart]
    body = pieces.table(columns, rows) if rows else pieces.paragraph("No run has measured anything.")
    return Section(id="figures", title="Figures", body=body)


def _curves(runs: Sequence[RunFolder]) -> Section | None:
    drawn = []
    for name, caption, y_label in _CURVES:
        series = [
            Series(label=letter, points=training.points(training.history(run), name), dashed=at % 2 == 1)
            for at, (letter, run) in enumerate(zip(compare.letters(runs), runs, strict=True))
        ]
        if any(one.points for one in series):
            drawn.append(pictures.svg(lines(series, x_label="optimiser step", y_label=y_label), caption=caption))
    return Section(id="curves", title="Curves", body=pictures.plots(*drawn)) if drawn else None


def _answers(runs: Sequence[RunFolder]) -> Section | None:
    found = compare.answers(runs)[:_ANSWERS]
    if not found:
        return None
    columns = ["prompt", "wanted", *compare.letters(runs)]
    rows = [[_text(one.prompt), _text(one.wanted), *(_text(said) for said in one.answers)] for one in found]
    other = sum(one.differs for one in found)
    rest = pieces.folded(
        f"The other {len(rows) - _OPEN} prompts", body=pieces.table(columns, rows[_OPEN:], stack=True), printed=False
    )
    body = pieces.join(
        pieces.paragraph(f"{other} of {len(found)} prompts that the runs share got another answer."),
        pieces.table(columns, rows[:_OPEN], stack=True),
        rest if len(rows) > _OPEN else None,
    )
    return Section(id="answers", title="Answers", body=body)


def _text(said: str | None) -> Text | Markup:
    if said is None:
        return Markup("-")
    return pieces.excerpt(said)
