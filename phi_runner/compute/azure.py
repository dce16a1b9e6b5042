"""Train and measure in Azure: the stage becomes a job of the workspace, its result comes back as if made here."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from phi_runner import __version__, artifacts
from phi_runner.artifacts import Artifact, Dataset, Scorecard, TrainedModel
from phi_runner.azureml import catalog, environment, following, jobs, package, task
from phi_runner.azureml import sweep as sweeps
from phi_runner.azureml.client import Azure, connect
from phi_runner.azureml.names import job_name
from phi_runner.azureml.task import CHECKPOINTS, MODEL_OUTPUT, RESULT, SUMMARY, Task
from phi_runner.config.schema import AzureCompute, RunConfig, StageName
from phi_runner.errors import MissingInput, RemoteFailed
from phi_runner.events import StageEvents
from phi_runner.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.ai.ml.entities import Command, Job

_Kind = TypeVar("_Kind", bound=Artifact)
_FOLDER, _FILE = "uri_folder", "uri_file"


class Place(Protocol):
    """Where a stage works, as `stages.stage.RunDir` says it."""

    @property
    def folder(self) -> Path:
        """Becomes the result."""

    @property
    def scratch(self) -> Path:
        """Removed once the result is in place."""

    @property
    def outputs(self) -> Path:
        """The run's outputs."""

    @property
    def key(self) -> str:
        """The result's key."""

    @property
    def events(self) -> StageEvents:
        """Who is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What goes up for a stage and what comes out of its job."""

    stage: StageName
    files: dict[str, str]
    """uri_file inputs by name: local paths or addresses in the workspace."""
    folders: dict[str, str]
    outputs: tuple[str, ...]
    inputs: dict[StageName, dict[str, Any]]
    distributed: bool


def train(config: RunConfig, dataset: Dataset, *, rundir: Place) -> TrainedModel:
    """Train as a job; with `azure.fetch_result=false` the weights stay in the workspace."""
    plan = _Plan(
        stage=StageName.train,
        files={"train_file": str(dataset.train_file), "eval_file": str(dataset.test_file)},
        folders=_base_model(config.model.path),
        outputs=(SUMMARY, RESULT, MODEL_OUTPUT, CHECKPOINTS),
        inputs={StageName.data: task.fields_of(dataset)},
        distributed=True,
    )
    fetched = (SUMMARY, RESULT) if config.azure.fetch_result else (SUMMARY,)
    name = _perform(plan, config=config, rundir=rundir, fetched=fetched)
    trained = _rebuilt(TrainedModel, rundir, job=name)
    here = str(Path(config.model.path).expanduser().resolve()) if config.model.path else trained.base
    return replace(
        trained, base=here, job=name, job_output=MODEL_OUTPUT, in_cloud=not config.azure.fetch_result, tracking_run=""
    )


def evaluate(config: RunConfig, dataset: Dataset, trained: TrainedModel, *, rundir: Place) -> Scorecard:
    """Measure as a job; the weights come from the job that trained them, or are uploaded."""
    folders = {"trained": _weights(connect(config.azure), trained)}
    inside = not trained.base or not Path(trained.base).is_absolute()
    plan = _Plan(
        stage=StageName.evaluate,
        files={"eval_file": str(dataset.test_file)},
        folders=folders if inside else folders | _base_model(trained.base),
        outputs=(SUMMARY,),
        inputs={StageName.data: task.fields_of(dataset), StageName.train: task.fields_of(trained)},
        distributed=False,
    )
    name = _perform(plan, config=config, rundir=rundir, fetched=(SUMMARY,))
    return _rebuilt(Scorecard, rundir, job=name)


def sweep(config: RunConfig, dataset: Dataset, *, grid: sweeps.Grid, rundir: Place) -> sweeps.Swept:
    """Train every combination of `grid` as a trial of one sweep job; the trials' results stay in the workspace."""
    plan = _Plan(
        stage=StageName.train,
        files={"train_file": str(dataset.train_file), "eval_file": str(dataset.test_file)},
        folders=_base_model(config.model.path),
        outputs=(SUMMARY, RESULT, MODEL_OUTPUT, CHECKPOINTS),
        inputs={StageName.data: task.fields_of(dataset)},
        distributed=True,
    )
    azure = connect(config.azure)

    def make(name: str) -> "Job":
        trial = _command(azure, plan, config=config, rundir=rundir, name=name, grid=grid)
        return sweeps.job(trial, config=config, name=name, grid=grid)

    return sweeps.outcome(azure, _followed(azure, make, stage="sweep", config=config, rundir=rundir), grid=grid)


def fine_tune(config: RunConfig, dataset: Dataset, *, rundir: Place) -> TrainedModel:
    """Let the model catalog's own fine-tune train; the model stays in the workspace."""

    def make(name: str) -> "Job":
        return catalog.job(config, dataset, name=name)

    name = _followed(connect(config.azure), make, stage=StageName.train, config=config, rundir=rundir)
    return catalog.result(config, dataset, folder=rundir.folder, job=name)


def _base_model(path: str) -> dict[str, str]:
    """Return the local folder that training started from as an input, if there is one."""
    return {"base_model": str(Path(path).expanduser().resolve())} if path else {}


def _weights(azure: Azure, trained: TrainedModel) -> str:
    """Return where a job finds a training's result: where its own job left it, else the local folder to upload."""
    if trained.job and jobs.state(azure, trained.job) is not None:
        return f"azureml://datastores/workspaceblobstore/paths/azureml/{trained.job}/{RESULT}/"
    if trained.in_cloud:
        raise MissingInput(
            f"{azure.config.workspace} has no job {trained.job}, and only it holds the weights: type the workspace "
            "that it ran in (azure.workspace=NAME), or train again with force=[train]"
        )
    return str(trained.folder)


def _perform(plan: _Plan, *, config: RunConfig, rundir: Place, fetched: tuple[str, ...]) -> str:
    """Run the stage as a job, bring the named outputs into the stage's folder, and return the job's name."""
    azure = connect(config.azure)

    def make(name: str) -> "Job":
        return _command(azure, plan, config=config, rundir=rundir, name=name)

    name = _followed(azure, make, stage=plan.stage, config=config, rundir=rundir)
    for output in fetched:
        jobs.fetch(
            azure, name, output=output, folder=rundir.folder, aside=rundir.scratch / "download",
            anew=f"force=[{plan.stage}]",
        )  # fmt: skip
    return name


def _followed(
    azure: Azure, make: "Callable[[str], Job]", *, stage: str, config: RunConfig, rundir: Place
) -> str:
    """Submit the job or find it, wait for its end, and return its name; an interruption only detaches."""
    ledger = Ledger(rundir.outputs)
    wanted = jobs.Wanted(
        name=lambda attempt: job_name(stage, rundir.key, retry=attempt), make=make,
        anew=stage in [str(forced) for forced in config.force],
        scratch=rundir.scratch, ledger=ledger, events=rundir.events,
    )  # fmt: skip
    job = jobs.submit_or_attach(azure, wanted)
    try:
        if not job.completed:
            following.follow(azure, job, events=rundir.events)
    except KeyboardInterrupt:
        rundir.events.warn(
            f"job {job.name} goes on in Azure: type the same command to attach to it again; to cancel it: "
            f"{jobs.how_to_stop(azure, job.name)}, or python -m phi_runner +recipe=teardown"
        )
        raise
    except RemoteFailed:
        jobs.settle(azure, job.name, ledger=ledger)
        raise
    jobs.settle(azure, job.name, ledger=ledger)
    return job.name


def _command(
    azure: Azure, plan: _Plan, *, config: RunConfig, rundir: Place, name: str, grid: sweeps.Grid | None = None
) -> "Command":
    """Return the command job that performs a stage, or a trial of it that takes its overrides from `grid`."""
    from azure.ai.ml import Input, Output, PyTorchDistribution, command

    compute = _compute(config)
    told = Task(stage=plan.stage, key=rundir.key, config=config, inputs=plan.inputs)
    file = task.write(told, file=rundir.outputs / "azure" / "jobs" / name / "job.yaml")
    given = {key: Input(type=_FILE, path=path) for key, path in (plan.files | {"config": str(file)}).items()}
    given |= {key: Input(type=_FOLDER, path=path) for key, path in plan.folders.items()}
    arguments = [f"--{key.replace('_', '-')} ${{{{inputs.{key}}}}}" for key in given]
    arguments += [f"--{key.replace('_', '-')} ${{{{outputs.{key}}}}}" for key in plan.outputs]
    arguments += sweeps.arguments(grid or {})
    nodes = config.azure.nodes if plan.distributed else 1
    processes = config.azure.processes_per_node if plan.distributed else 1
    spread = PyTorchDistribution(process_count_per_instance=processes) if nodes * processes > 1 else None
    return command(
        name=name,
        display_name=f"{plan.stage} {rundir.key[:12]}",
        experiment_name=config.tracking.experiment,
        code=str(package.stage_code(rundir.outputs)),
        command=f"python -m phi_runner.remote --stage {plan.stage} {' '.join(arguments)}",
        environment=environment.ensure_training(azure, compute=compute),
        compute=compute.cluster,
        inputs=given | sweeps.first(grid or {}),
        outputs={key: Output(type="mlflow_model" if key == MODEL_OUTPUT else _FOLDER) for key in plan.outputs},
        instance_count=nodes,
        distribution=spread,
        environment_variables={"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        tags={
            "phi_runner.key": rundir.key, "phi_runner.stage": str(plan.stage), "phi_runner.version": __version__
        },
    )  # fmt: skip


def _compute(config: RunConfig) -> AzureCompute:
    if not isinstance(config.compute, AzureCompute):
        raise TypeError(f"compute={config.compute.kind} is not a cluster of a workspace")
    return config.compute


def _rebuilt(kind: type[_Kind], rundir: Place, *, job: str) -> _Kind:
    """Read the result that the node wrote, as it lies here now."""
    try:
        return artifacts.load(kind, folder=rundir.folder)
    except (OSError, ValueError, TypeError) as err:
        raise RemoteFailed(
            f"job {job} left no {kind.__name__} that this version of phi_runner can read: make it again with "
            f"force=[...] ({err})"
        ) from err
