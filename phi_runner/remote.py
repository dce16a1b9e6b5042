"""`python -m phi_runner.remote --stage train --config job.yaml ...`: performs one stage on a node of a cluster.

It runs the very function that a stage runs here, tells its events as lines of the job's log, and leaves small files in
`--summary`, weights in `--result`, the model in MLflow's form in `--model-output` and checkpoints in `--checkpoints`.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from phi_runner import artifacts, environment, processes, task
from phi_runner.artifacts import Artifact, Dataset, TrainedModel
from phi_runner.azureml import objective
from phi_runner.config.schema import (
    AzureCompute,
    ComputeConfig,
    CpuCompute,
    GpuCompute,
    RehearsalAzure,
    RunConfig,
    StageName,
)
from phi_runner.errors import ConfigProblem, PhiRunnerError, Stopped
from phi_runner.events import Events, StageEvents
from phi_runner.rank import Rank
from phi_runner.stages.stage import Inputs, RunDir
from phi_runner.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDir(RunDir):
    """A stage's folder on the node's own disk; only the checkpoints lie where they survive the node."""

    @property
    def scratch(self) -> Path:
        """Where checkpoints go, through a link."""
        return self.outputs / "scratch"


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m phi_runner.remote", description=__doc__)
    parser.add_argument("--stage", required=True, choices=[StageName.train, StageName.evaluate], type=StageName)
    for name in ("config", "summary"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    for name in (
        "train-file", "eval-file", "trained", "base-model", "probe-file", "tasks-folder", "result", "model-output",
        "checkpoints",
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--override", action="append", default=[], help="key=value of a sweep's trial")
    return parser.parse_args(argv)


def _told(rank: Rank) -> Events:
    """Return events that go to the job's log as lines."""

    def write(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    events = Events()
    if rank.first:
        events.listen(task.teller(write))
    return events


def _compute(config: RunConfig, rank: Rank) -> ComputeConfig:
    """Return what the node computes on: all of its cores, or the device that is this process's own."""
    if not isinstance(config.compute, AzureCompute):
        return config.compute
    if config.compute.gpu and not isinstance(config.azure, RehearsalAzure):  # an emulated node is this machine
        if rank.local_world > 1:  # every process sees all devices and takes the one of its number
            devices = ",".join(str(number) for number in range(rank.local_world))
            os.environ.setdefault("CUDA_VISIBLE_DEVICES", devices)
        return GpuCompute(device=rank.local)
    return CpuCompute(threads=rank.cores())


def _node_config(told: Task, given: argparse.Namespace, *, outputs: Path, rank: Rank) -> RunConfig:
    """Return the config as this node has it: its own device, its own paths, a tracker of its own."""
    model = replace(told.config.model, path=str(given.base_model)) if given.base_model else told.config.model
    evaluate = replace(
        told.config.evaluate, probe_file=str(given.probe_file or ""), tasks_folder=str(given.tasks_folder or "")
    )  # fmt: skip
    return replace(
        told.config, compute=_compute(told.config, rank), model=model, outputs=str(outputs), evaluate=evaluate,
        tracking=replace(told.config.tracking, uri=""),
    )  # fmt: skip


def _dataset(told: Task, given: argparse.Namespace, *, folder: Path) -> Dataset:
    """Lay the job's input files out as the data stage leaves them."""
    folder.mkdir(parents=True)
    dataset = Dataset(folder=folder, **told.inputs[StageName.data])
    for place, file in ((dataset.train_file, given.train_file), (dataset.test_file, given.eval_file)):
        if file:
            place.symlink_to(file.resolve())
    return dataset


def _inputs(told: Task, given: argparse.Namespace, *, work: Path) -> Inputs:
    found: dict[StageName, Artifact] = {StageName.data: _dataset(told, given, folder=work / "data")}
    if given.trained:
        values = told.inputs[StageName.train] | {"in_cloud": False}
        if given.base_model:
            values["base"] = str(given.base_model)
        found[StageName.train] = TrainedModel(folder=given.trained, **values)
    return Inputs(found, {})


def _perform(told: Task, inputs: Inputs, rundir: NodeDir, *, config: RunConfig) -> Artifact:
    match told.stage:
        case StageName.train:
            from phi_runner.stages import train

            return train.run(config, inputs, rundir)
        case StageName.evaluate:
            from phi_runner.stages import evaluate

            return evaluate.here(config, inputs, rundir)
        case unknown:
            raise ConfigProblem(f"the stage {unknown} does not run on a node")


def _publish(artifact: Artifact, given: argparse.Namespace, *, work: Path) -> None:
    """Copy the result to where the job's outputs are taken from, what says that it is whole last."""
    folder = artifact.folder
    for item in sorted(folder.iterdir()):
        if item.is_dir() and given.result:
            _copy(item, given.result / item.name)
        elif item.is_file():
            _copy(item, given.summary / item.name)
    if isinstance(artifact, TrainedModel) and given.model_output:
        from phi_runner.stages.register import mlflow_folder

        made = mlflow_folder(artifact, folder=work / "mlflow", merged=work / "merged")
        _copy(made, given.model_output)
        shutil.copyfile(made / "requirements.txt", given.summary / task.REQUIREMENTS_FILE)
    artifacts.save(artifact)
    _copy(folder / artifacts.ARTIFACT_FILE, given.summary / artifacts.ARTIFACT_FILE)
    if given.checkpoints:
        _empty(given.checkpoints)


def _empty(folder: Path) -> None:
    """Remove the checkpoints of a training that has ended, as far as the mounted storage lets us."""
    for item in folder.iterdir():
        if item.is_dir():
            shutil.rmtree(item, ignore_errors=True)
        else:
            with suppress(OSError):
                item.unlink()


def _copy(source: Path, target: Path) -> None:
    """Copy bytes only: mounted storage knows no modes."""
    for file in [source] if source.is_file() else sorted(source.rglob("*")):
        if file.is_file():
            place = target if file == source else target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def main(argv: Sequence[str]) -> int:
    """Perform one stage and return the exit code."""
    given = _arguments(argv)
    begun = time.perf_counter()
    told = task.read(given.config, overrides=given.override)
    rank = Rank.here(processes_per_node=told.config.azure.processes_per_node)
    events = _told(rank)
    with processes.ending_on_sigterm(), tempfile.TemporaryDirectory(prefix="phi_runner-") as temporary:
        work = Path(temporary)
        rundir = NodeDir(
            folder=work / "result", outputs=work / "outputs", key=told.key, events=StageEvents(events, told.stage)
        )
        rundir.folder.mkdir()
        rundir.scratch.mkdir(parents=True)
        if given.checkpoints:
            given.checkpoints.mkdir(parents=True, exist_ok=True)
            (rundir.scratch / "checkpoints").symlink_to(given.checkpoints.resolve())
        try:
            config = _node_config(told, given, outputs=rundir.outputs, rank=rank)
            environment.prepare(config)
            artifact = _perform(told, _inputs(told, given, work=work), rundir, config=config)
            if rank.first:
                _publish(artifact, given, work=work)
                if given.override:
                    objective.tell(objective.of(artifact), events=rundir.events)
        except PhiRunnerError as err:
            sys.stdout.write(task.failure_line(str(err), error=type(err).__name__) + "\n")
            return err.exit_code
        except Stopped as err:  # the step is saved where it survives the node
            rundir.events.info(str(err))
            return err.exit_code
    StageEvents(events, told.stage).info(f"the node was busy for {time.perf_counter() - begun:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
