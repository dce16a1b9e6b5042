"""The trials of a workspace's own sweep job, which a stage keeps in `results.json` of its run's folder."""

import json
import sys
from pathlib import Path

from phi_runner.sweep.table import WIDTH_WHEN_PIPED


def show(folder: Path) -> None:
    """Print the trials, if the job came so far."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    file = folder / "results.json"
    if not file.is_file():
        return
    table = Table()
    for column in ("trial", "overrides", "status", "loss after", "best"):
        table.add_column(column, overflow="fold")
    for name, trial in json.loads(file.read_text(encoding="utf-8")).items():
        loss, best = trial["values"].get("loss_after"), "best" if trial["values"].get("best") else ""
        status = trial["status"] + (f": {trial['error']}" if trial["error"] else "")
        shown = "" if loss is None else f"{loss:.3f}"
        table.add_row(*(Text(cell) for cell in (name, " ".join(trial["overrides"]), status, shown, best)))
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_WHEN_PIPED).print(table)
