"""Train and measure in Azure: the stage becomes a job of the workspace, its result comes back as if made here."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from phi_runner import artifacts, task
from phi_runner.artifacts import Artifact, Dataset, Scorecard, TrainedModel
from phi_runner.azureml import catalog, commands, following, jobs, objective
from phi_runner.azureml import sweep as sweeps
from phi_runner.azureml.client import Azure, connect
from phi_runner.azureml.commands import Plan
from phi_runner.azureml.names import job_name
from phi_runner.azureml.objective import HISTORY_FILE
from phi_runner.compute.place import Place
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import MissingInput, RemoteFailed
from phi_runner.ledger import Ledger
from phi_runner.task import CHECKPOINTS, MODEL_OUTPUT, RESULT, SUMMARY

_Kind = TypeVar("_Kind", bound=Artifact)
_SWEEP = "sweep"


def train(config: RunConfig, dataset: Dataset, *, rundir: Place) -> TrainedModel:
    """Train as a job; with `azure.fetch_result=false` the weights stay in the workspace."""
    plan = _training(config, dataset)
    fetched = (SUMMARY, RESULT) if config.azure.fetch_result else (SUMMARY,)
    name = _perform(plan, config=config, rundir=rundir, fetched=fetched)
    trained = _rebuilt(TrainedModel, rundir, job=name)
    if config.model.path:
        trained = replace(trained, base=str(Path(config.model.path).expanduser().resolve()))
        _mend_adapter(trained)
    return replace(trained, job=name, job_output=MODEL_OUTPUT, in_cloud=not config.azure.fetch_result, tracking_run="")


def _training(config: RunConfig, dataset: Dataset) -> Plan:
    return Plan(
        stage=StageName.train,
        files={"train_file": str(dataset.train_file), "eval_file": str(dataset.test_file)},
        folders=_base_model(config.model.path),
        outputs=(SUMMARY, RESULT, MODEL_OUTPUT, CHECKPOINTS),
        inputs={StageName.data: task.fields_of(dataset)},
        distributed=True,
    )


def _mend_adapter(trained: TrainedModel) -> None:
    """Let the adapter name its base as it is called here, not as the node had it."""
    file = trained.model_folder / "adapter_config.json"
    if file.is_file():
        settings = json.loads(file.read_text(encoding="utf-8")) | {"base_model_name_or_path": trained.base}
        file.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")


def evaluate(config: RunConfig, dataset: Dataset, trained: TrainedModel, *, rundir: Place) -> Scorecard:
    """Measure as a job; the weights come from the job that trained them, or are uploaded."""
    folders = {"trained": _weights(connect(config.azure), trained)} | _own(config.evaluate.tasks_folder, "tasks_folder")
    inside = not trained.base or not Path(trained.base).is_absolute()
    probe = config.evaluate.probe_file if config.evaluate.probe else ""
    plan = Plan(
        stage=StageName.evaluate,
        files={"eval_file": str(dataset.test_file)} | _own(probe, "probe_file"),
        folders=folders if inside else folders | _base_model(trained.base),
        outputs=(SUMMARY,),
        inputs={StageName.data: task.fields_of(dataset), StageName.train: task.fields_of(trained)},
        distributed=False,
    )
    name = _perform(plan, config=config, rundir=rundir, fetched=(SUMMARY,))
    return _rebuilt(Scorecard, rundir, job=name)


def sweep(config: RunConfig, dataset: Dataset, *, grid: sweeps.Grid, rundir: Place) -> sweeps.Swept:
    """Train every combination of `grid` as a trial of one sweep job; the trials' results stay in the workspace."""
    plan = _training(config, dataset)
    azure = connect(config.azure)
    make = partial(commands.sweep, azure, plan, config=config, key=rundir.key, outputs=rundir.outputs, grid=grid)
    name = _followed(azure, make, stage=_SWEEP, config=config, rundir=rundir)
    swept = sweeps.outcome(azure, name, grid=grid)
    return replace(swept, trials=tuple(_measured(azure, trial, rundir=rundir) for trial in swept.trials))


def _measured(azure: Azure, trial: sweeps.Trial, *, rundir: Place) -> sweeps.Trial:
    """Return a trial with its held-out loss, from the small files that a completed one has left."""
    if not trial.completed:
        return trial
    folder = rundir.folder / "trials" / trial.job
    jobs.fetch(azure, trial.job, output=SUMMARY, folder=folder, aside=rundir.scratch / "download", anew="force=[train]")
    return replace(trial, loss_after=objective.last_loss(folder / HISTORY_FILE))


def fine_tune(config: RunConfig, dataset: Dataset, *, rundir: Place) -> TrainedModel:
    """Let the model catalog's own fine-tune train; the model stays in the workspace."""
    make = partial(catalog.job, config, dataset)
    name = _followed(connect(config.azure), make, stage=StageName.train, config=config, rundir=rundir)
    return catalog.result(config, dataset, folder=rundir.folder, job=name)


def _base_model(path: str) -> dict[str, str]:
    """Return the local folder that training started from as an input, if there is one."""
    return _own(path, "base_model")


def _own(path: str, name: str) -> dict[str, str]:
    """Return a file or folder of the user's own as an input, if there is one."""
    return {name: str(Path(path).expanduser().resolve())} if path else {}


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


def _perform(plan: Plan, *, config: RunConfig, rundir: Place, fetched: tuple[str, ...]) -> str:
    """Run the stage as a job, bring the named outputs into the stage's folder, and return the job's name."""
    azure = connect(config.azure)
    make = partial(commands.job, azure, plan, config=config, key=rundir.key, outputs=rundir.outputs)
    name = _followed(azure, make, stage=plan.stage, config=config, rundir=rundir)
    for output in fetched:
        jobs.fetch(
            azure, name, output=output, folder=rundir.folder, aside=rundir.scratch / "download",
            anew=f"force=[{plan.stage}]",
        )  # fmt: skip
    return name


def _followed(azure: Azure, make: jobs.Make, *, stage: str, config: RunConfig, rundir: Place) -> str:
    """Submit the job or find it, wait for its end, and return its name; an interruption only detaches."""
    ledger = Ledger(rundir.outputs)
    wanted = jobs.Wanted(
        name=lambda attempt: job_name(stage, rundir.key, retry=attempt), make=make,
        anew=(StageName.train if stage == _SWEEP else stage) in [str(forced) for forced in config.force],
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


def _rebuilt(kind: type[_Kind], rundir: Place, *, job: str) -> _Kind:
    """Read the result that the node wrote, as it lies here now."""
    try:
        return artifacts.load(kind, folder=rundir.folder)
    except (OSError, ValueError, TypeError) as err:
        raise RemoteFailed(
            f"job {job} left no {kind.__name__} that this version of phi_runner can read: make it again with "
            f"force=[...] ({err})"
        ) from err
