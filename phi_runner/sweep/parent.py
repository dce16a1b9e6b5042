"""A sweep in the tracker: one run that all its trainings are children of, with the leaderboard and the best values."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner import locks
from phi_runner.config.schema import RunConfig, TrackingConfig

if TYPE_CHECKING:
    from phi_runner.tracking import TrackedRun

_MARKER = ".tracking_run"


def tags(config: RunConfig, *, outputs: Path) -> dict[str, str]:
    """Return what makes a training a child of its sweep's run; nothing for a run that is no trial."""
    from phi_runner.tracking import PARENT_TAG

    if not config.sweep.trial_folder:
        return {}
    trial = Path(config.sweep.trial_folder)
    tracked = _opened(config.tracking, outputs=outputs, folder=trial.parent)
    return {PARENT_TAG: tracked.run_id, "phi_runner.trial": trial.name}


def finish(
    tracking: TrackingConfig, *, outputs: Path, folder: Path, best: Mapping[str, str], metrics: Mapping[str, float],
    files: list[Path],
) -> None:  # fmt: skip
    """Give the sweep's run its best values and files; one without a tracked training has no run and gets none."""
    if not (folder / _MARKER).is_file():
        return
    tracked = _opened(tracking, outputs=outputs, folder=folder)
    tracked.tags({f"best.{name}": value for name, value in best.items()})  # parameters cannot change, the best can
    tracked.metrics(metrics, step=0)
    for file in files:
        tracked.artifact(file)
    tracked.finish()


def _opened(tracking: TrackingConfig, *, outputs: Path, folder: Path) -> "TrackedRun":
    """Open the run of a sweep's folder; its trials may ask for it at the same moment."""
    from phi_runner.tracking import open_parent

    with locks.held(folder / ".tracking.lock", on_wait=lambda: None):
        tracked = open_parent(tracking, outputs=outputs, sweep=str(folder.resolve()), title=folder.name)
        (folder / _MARKER).write_text(tracked.run_id, encoding="ascii")
    return tracked
