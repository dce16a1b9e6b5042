"""What a run leaves about itself beside its results: `versions.json` and `report.html`, kept true while it goes on."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phi_runner.config.schema import RunConfig
from phi_runner.errors import PhiRunnerError
from phi_runner.events import Event, Events, Kind
from phi_runner.report import deciding, versions
from phi_runner.report.run_folder import REPORT_FILE, VERSIONS_FILE, RunFolder, read, read_json, table
from phi_runner.store import MANIFEST_FILE, write_json

_MOMENTS = (Kind.stage_finished, Kind.run_finished, Kind.run_failed)
"""A run that is killed leaves the page of its last finished stage."""


class Leaving:
    """A sink of events that writes the two files; a run is never lost because one of them cannot be written."""

    def __init__(self, config: RunConfig, *, folder: Path, events: Events) -> None:
        self._folder = folder
        self._events = events
        self._config = config
        self._warned = False
        self._carefully(VERSIONS_FILE, self._versions)

    def take(self, event: Event) -> None:
        """Write both files at each moment that changes what they say; listens after the run's record."""
        if event.kind not in _MOMENTS:
            return
        self._carefully(VERSIONS_FILE, self._versions)
        failure = sys.exc_info()[1] if event.kind is Kind.run_failed else None  # told from where it is handled
        self._carefully(REPORT_FILE, lambda: self._page(failure))

    def _versions(self) -> None:
        stages = made_of(read(self._folder))
        write_json(
            self._folder / VERSIONS_FILE, versions.collect(self._config) | ({"stages": stages} if stages else {})
        )

    def _page(self, failure: BaseException | None) -> None:
        unforeseen = failure is not None and not isinstance(failure, PhiRunnerError | KeyboardInterrupt)
        told = "".join(traceback.format_exception(failure)) if unforeseen else ""
        from phi_runner.report import page  # templates are slow to import, and a plan needs none

        page.write(self._folder, secrets=self._events.hidden, trace=told)

    def _carefully(self, name: str, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as err:  # whatever is wrong with a page is no reason to lose a training
            if not self._warned:
                self._warned = True
                problem = str(err) or type(err).__name__
                self._events.emit(Kind.warning, f"{self._folder / name} could not be written: {problem}")


def made_of(run: RunFolder) -> dict[str, Any]:
    """Return for each result of a run what decided it, what it is told apart by, and its own fields."""
    found: dict[str, Any] = {}
    for stage in run.stages:
        folder = run.result(stage.name)
        manifest = table(read_json(folder / MANIFEST_FILE)) if folder else {}
        if folder is None or manifest.get("key") != stage.key:
            continue
        found[stage.name] = {
            "key": stage.key,
            "parts": table(manifest.get("parts")),
            "files": deciding.digests(folder),
            "result": table(read_json(folder / "artifact.json")),
        }
    return found
