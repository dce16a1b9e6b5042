"""Stage `train` of a sweep job: every combination of the grid is a trial in the workspace, and the best is named."""

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from phi_runner.artifacts import Dataset
from phi_runner.config import clouds
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import RemoteFailed
from phi_runner.stages import train
from phi_runner.stages.stage import Inputs, RunDir, Stage
from phi_runner.store import write_json

if TYPE_CHECKING:
    from phi_runner.azureml.sweep import Swept

RESULTS_FILE = "results.json"


def run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> None:
    """Make or find the sweep job, and leave `results.json` in the run's folder; a failed trial raises RemoteFailed."""
    from phi_runner.compute import azure

    results = rundir.folder / RESULTS_FILE
    results.unlink(missing_ok=True)  # a run folder that the user fixed is used again
    # By its key, not by its run: a forced sweep that was interrupted is then not begun anew a second time.
    place = replace(rundir, folder=rundir.outputs / "azure" / "sweeps" / rundir.key[:20])
    dataset = inputs.get(StageName.data, Dataset)
    swept = azure.sweep(config, dataset, grid=grid(config.sweep.grid), rundir=place)
    shutil.rmtree(place.scratch, ignore_errors=True)
    write_json(results, told(swept))
    _tell(swept, rundir)
    failed = [trial for trial in swept.trials if not trial.completed]
    if failed or not swept.trials:
        named = "; ".join(f"{trial.job} ({' '.join(trial.overrides)}): {trial.status}" for trial in failed)
        raise RemoteFailed(
            f"sweep {swept.job}: {len(failed)} of {len(swept.trials)} trials did not complete: "
            f"{named or 'none began'}; see their logs in the workspace, then type the same command with force=[train]"
        )


def grid(lines: list[str]) -> dict[str, list[str]]:
    """Take `key=a,b` lines apart."""
    parted = (line.partition("=") for line in lines)
    return {key: values.split(",") for key, _, values in parted}


def told(swept: "Swept") -> dict[str, Any]:
    """Return the trials as a multirun's `results.json` has them."""
    return {
        trial.job: {
            "status": "done" if trial.completed else "failed",
            "overrides": list(trial.overrides),
            "values": {"loss_after": trial.loss_after, "best": trial.job == swept.best},
            "error": "" if trial.completed else trial.status,
        }
        for trial in swept.trials
    }


def _tell(swept: "Swept", rundir: RunDir) -> None:
    best = [trial for trial in swept.trials if trial.job == swept.best]
    for trial in best:
        told_first = f"best of {len(swept.trials)} trials: {trial.job}"
        rundir.events.info(f"{told_first}; for its model type {_typed(trial.overrides)}")
    if not best:
        rundir.events.warn(f"the workspace named no best trial of {swept.job}")


def _typed(overrides: tuple[str, ...]) -> str:
    return f"{' '.join(overrides)} azure.sweep=false, without -m"


STAGE = Stage(
    name=StageName.train,
    about="one sweep job of the workspace: trains every combination of a grid and names the best",
    run=run,
    produces=None,
    reads=train.STAGE.reads,
    uses=lambda _config: (StageName.infra,),
    place=clouds.workspace_of,
    config_parts=("model", "train", "seed", "sweep"),
    local_inputs=train.STAGE.local_inputs,
    code=(*train.STAGE.code, "stages/sweep.py"),
    libraries=train.STAGE.libraries,
)
