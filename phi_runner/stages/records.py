"""A training's run in the tracker: what it was asked, and which sweep it belongs to."""

from typing import TYPE_CHECKING

from phi_runner.artifacts import Dataset
from phi_runner.config.dump import flat
from phi_runner.config.schema import RunConfig
from phi_runner.rank import Rank
from phi_runner.stages.stage import RunDir
from phi_runner.sweep import parent

if TYPE_CHECKING:
    from phi_runner.tracking import TrackedRun

_MARKER = "tracking_run"


def open_run(config: RunConfig, dataset: Dataset, rundir: RunDir) -> "TrackedRun":
    """Open the run in the tracker, the same one again after an interruption; of several processes the first records."""
    from phi_runner import tracking

    if not Rank.here().first:
        return tracking.Untracked()
    rundir.scratch.mkdir(parents=True, exist_ok=True)
    tags = {"phi_runner.key": rundir.key, "phi_runner.data_hash": dataset.content_hash}
    tracked = tracking.open_run(
        config.tracking, outputs=rundir.outputs, name=f"train-{rundir.key[:12]}", marker=rundir.scratch / _MARKER,
        tags=tags | parent.tags(config, outputs=rundir.outputs),
    )  # fmt: skip
    tracked.parameters(flat(config, part="model") | flat(config, part="train") | {"seed": str(config.seed)})
    return tracked
