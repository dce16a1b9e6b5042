"""The data stage: chat rows, checked, divided and written for training."""

import os
from pathlib import Path

from phi_runner.artifacts import Artifact, Dataset
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.config.streaming import streams
from phi_runner.data import local_files
from phi_runner.stages.stage import Inputs, RunDir, Stage


def run(config: RunConfig, _inputs: Inputs, rundir: RunDir) -> Dataset:
    """Read, check and divide the rows that the config names; raises DataProblem when nothing usable is left."""
    if streams(config.data):
        from phi_runner.data import beginning

        return beginning.prepare(config.data, seed=config.seed, folder=rundir.folder, events=rundir.events)
    from phi_runner.data.prepare import prepare

    return prepare(config.data, seed=config.seed, folder=rundir.folder, events=rundir.events)


def inspect(config: RunConfig, artifact: Artifact, rundir: RunDir) -> None:
    """Check the rows before anything is trained on them; raises DataProblem when a bound of `preflight.*` refuses."""
    if not config.preflight.enabled or not isinstance(artifact, Dataset):
        return
    from phi_runner import preflight

    preflight.check(
        config, artifact, key=rundir.key, folder=rundir.folder, outputs=rundir.outputs, events=rundir.events
    )


def local_inputs(config: RunConfig) -> list[Path]:
    """Return the local files that are read; one that cannot be is left to `run`, which says what is wrong with it."""
    return [] if streams(config.data) else _readable(config)


def told(config: RunConfig) -> dict[str, str]:
    """Tell the files of a streamed data set apart by their ends: reading all of one may take hours."""
    from phi_runner.data.identity import ends

    if not streams(config.data):
        return {}
    return {f"{file.name} (file {number})": ends(file) for number, file in enumerate(_readable(config), start=1)}


def _readable(config: RunConfig) -> list[Path]:
    return [file for file in local_files(config.data) if file.is_file() and os.access(file, os.R_OK)]


STAGE = Stage(
    name=StageName.data,
    about="read chat rows, check them, hold some out",
    run=run,
    produces=Dataset,
    config_parts=("data", "seed"),
    local_inputs=local_inputs,
    told=told,
    code=("data", "stages/data.py", "config/take.py", "config/streaming.py"),
    libraries=("pyarrow",),
    inspect=inspect,
)
