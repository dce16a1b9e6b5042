"""Stage `compare`: earlier runs side by side, as tables in the terminal and as `compare.html`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from phi_runner.config import earlier_runs
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import MissingInput
from phi_runner.stages.stage import Inputs, RunDir, Stage

if TYPE_CHECKING:
    from rich.table import Table

    from phi_runner.report.compare import Row
    from phi_runner.report.run_folder import RunFolder

PAGE = "compare.html"
_MOST = 30
"""Settings and versions that the terminal shows; the page has all."""
_WIDTH_WHEN_PIPED = 140


def run(config: RunConfig, _inputs: Inputs, rundir: RunDir) -> None:
    """Compare the runs that `runs` names; raises MissingInput when one has gone since the command line was checked."""
    from phi_runner.report import compare, compare_page
    from phi_runner.report.page import put

    folders = []
    for text in config.runs:
        folder = earlier_runs.folder_of(text, outputs=config.outputs)
        if folder is None:
            raise MissingInput(f"there is no run {text!r} any more: name another with runs=[RUN_FOLDER,RUN_FOLDER]")
        folders.append(folder)
    runs = compare.read_all(folders)
    for each in runs:
        if each.status != "done" or each.problems:
            said = "; ".join([each.status, *each.problems])
            rundir.events.warn(f"{each.name}: {said}: what it has left is compared")
    _show(runs)
    file = put(compare_page.render(runs), file=rundir.folder / PAGE)
    rundir.events.info(f"side by side, with curves and answers: {file}", page=str(file))


def _show(runs: "Sequence[RunFolder]") -> None:
    """Print what differs, figures last: they are what a person looks for."""
    import sys

    from rich.console import Console

    from phi_runner.report import compare

    out = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_WHEN_PIPED)
    for letter, each in zip(compare.letters(runs), runs, strict=True):
        out.print(f"{letter}  {each.name}  {each.status}", markup=False)
    letters = compare.letters(runs)
    for title, found in (
        ("settings that differ", compare.settings(runs)),
        ("data that differ", [row for row in compare.data(runs) if row.differs]),
        ("versions that differ", compare.versions(runs)),
    ):
        if found:
            out.print(_table(title, found[:_MOST], letters=letters, caption=_rest(found)))
    if measured := compare.figures(runs):
        out.print(_table("figures", measured, letters=letters, differences=True))


def _rest(found: "Sequence[Row]") -> str:
    return f"and {len(found) - _MOST} more, see {PAGE}" if len(found) > _MOST else ""


def _table(
    title: str, found: "Sequence[Row]", *, letters: Sequence[str], caption: str = "", differences: bool = False
) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", caption=caption or None)
    apart = [f"{letter} - {letters[0]}" for letter in letters[1:]] if differences else []
    for column in ("", *letters, *apart):
        table.add_column(column, overflow="fold")
    for row in found:
        values = [*row.values, *(row.differences() if differences else [])]
        table.add_row(Text(row.name), *(Text(_shown(value)) for value in values))
    return table


def _shown(value: object) -> str:
    from phi_runner.pages.pieces import number

    if value is None:
        return ""
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


STAGE = Stage(
    name=StageName.compare,
    about="put earlier runs side by side: settings, data, figures, curves, answers, versions",
    run=run,
    produces=None,
    pure=False,
    interactive=True,
)
