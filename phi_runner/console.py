"""What a person sees while a run works: one live view in a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TextIO

from phi_runner.events import Event, Kind

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import TaskID

_MARKS = {"waiting": "·", "running": "▸", "reused": "✓", "done": "✓", "skipped": "-", "failed": "✗", "pruned": "-"}
_PLAIN_PROGRESS_S = 10.0
_ENDS = {
    Kind.stage_reused: "reused",
    Kind.stage_finished: "done",
    Kind.stage_skipped: "skipped",
    Kind.stage_failed: "failed",
    Kind.stage_pruned: "pruned",
}


class Console(Protocol):
    """Shows events; `pause` makes room for a stage that talks to a person."""

    def take(self, event: Event) -> None:
        """Show an event."""

    def pause(self) -> None:
        """Leave the terminal to someone else."""

    def close(self) -> None:
        """Stop showing."""


class PlainConsole:
    """One line an event, progress at most every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress_at = 0.0

    def take(self, event: Event) -> None:
        """Print a line."""
        if event.kind is Kind.progress:
            if event.at - self._progress_at < _PLAIN_PROGRESS_S:
                return
            self._progress_at = event.at
            line = f"{event.values['done']}/{event.values['total']} {event.message}".rstrip()
        elif event.kind is Kind.warning:
            line = f"warning: {event.message}"
        else:
            line = event.message
        self._stream.write(f"[{event.stage}] {line}\n" if event.stage else f"{line}\n")
        self._stream.flush()

    def pause(self) -> None:
        """Do nothing: lines need no room."""

    def close(self) -> None:
        """Do nothing: every line is out already."""


class SilentConsole:
    """Nothing: others use the same terminal, and this run's files tell it all."""

    def take(self, event: Event) -> None:
        """Show nothing."""

    def pause(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class LiveConsole:
    """The stages and a bar with the time left, redrawn in place; what is said scrolls above it."""

    def __init__(self, stages: Iterable[str]) -> None:
        from rich.console import Console as RichConsole
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._states = dict.fromkeys(stages, "waiting")
        self._since: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("  {task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        self._task: TaskID | None = None
        self._group = Group
        self._live = Live(
            console=RichConsole(highlight=False), get_renderable=self._view, refresh_per_second=4, transient=True
        )
        self._live.start()

    def _view(self) -> "RenderableType":
        from rich.text import Text

        row = Text()
        for name, state in self._states.items():
            style = {"running": "bold cyan", "failed": "bold red", "waiting": "dim"}.get(state, "green")
            spent = f" {time.time() - self._since[name]:.0f}s" if state == "running" and name in self._since else ""
            row.append(f" {_MARKS[state]} {name}{spent} ", style=style)
        return self._group(row, self._progress) if self._task is not None else row

    def take(self, event: Event) -> None:
        """Update the view; what is worth a line is printed above it."""
        if event.kind is Kind.progress:
            self._bar(event)
            return
        if event.kind is Kind.stage_started:
            self._states[event.stage], self._since[event.stage] = "running", event.at
        elif event.kind in _ENDS:
            self._states[event.stage] = _ENDS[event.kind]
            self._clear_bar()
        self._say(event)

    def _say(self, event: Event) -> None:
        from rich.markup import escape

        style = {Kind.warning: "yellow", Kind.stage_failed: "red", Kind.run_failed: "red"}.get(event.kind, "")
        line = escape(f"{event.stage:>9}  {event.message}" if event.stage else event.message)
        self._live.console.print(f"[{style}]{line}[/]" if style else line)

    def _bar(self, event: Event) -> None:
        done, total = int(event.values["done"] or 0), int(event.values["total"] or 0)
        if self._task is None:
            self._task = self._progress.add_task(event.stage, total=total, note="")
        self._progress.update(self._task, completed=done, total=total, note=event.message)

    def _clear_bar(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def pause(self) -> None:
        """Take the view off the terminal; later events print plainly."""
        self._live.stop()

    def close(self) -> None:
        """Take the view off the terminal."""
        self._live.stop()


def open_console(stages: Iterable[str], *, quiet: bool = False) -> Console:
    """Return the live view when stdout is a terminal, else plain lines; `quiet`: nothing is to be shown."""
    if quiet:
        return SilentConsole()
    return LiveConsole(stages) if sys.stdout.isatty() else PlainConsole(sys.stdout)
