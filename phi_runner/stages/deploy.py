"""Stage `deploy`: the registered model behind an endpoint, here or in Azure, that passed its smoke test."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner import processes
from phi_runner.artifacts import Artifact, Endpoint, Registered, Workspace
from phi_runner.config import clouds
from phi_runner.config.schema import (
    AzureCompute,
    AzureDeploy,
    CpuCompute,
    EngineName,
    GpuCompute,
    GpusCompute,
    LocalDeploy,
    NoDeploy,
    RunConfig,
    Serving,
    SlurmCompute,
    StageName,
)
from phi_runner.environment import cuda_number
from phi_runner.errors import ConfigProblem
from phi_runner.stages import endpoints
from phi_runner.stages.stage import Inputs, RunDir, Stage

if TYPE_CHECKING:
    from phi_runner.deploy.local import Wanted


def run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Endpoint:
    """Bring up the endpoint that the config names, or keep the one that serves the same; raises DeployFailed."""
    match config.deploy:
        case LocalDeploy():
            return _local(config.deploy, config, inputs.get(StageName.register, Registered), rundir)
        case AzureDeploy():
            return _azure(config.deploy, config, inputs, rundir)
        case unknown:
            raise ConfigProblem(
                f"stage deploy cannot start an endpoint of kind {unknown.kind!r}: use deploy=local or deploy=azure"
            )


def _local(deploy: LocalDeploy, config: RunConfig, registered: Registered, rundir: RunDir) -> Endpoint:
    from phi_runner.deploy import local

    wish = wanted(deploy, config, registered, outputs=rundir.outputs)
    if not deploy.rollback:  # what comes back has all that its engine needs
        wish = _with_engine(wish, rundir)
    up = local.bring_up(wish, events=rundir.events)
    running = up.running
    return Endpoint(
        folder=rundir.folder, name=running.name, url=running.url, key_file=str(wish.key_file), pid=running.pid,
        model=up.serves.label, template_hash=up.serves.template_hash, detached=running.detached,
        deployment=up.deployment,
    )  # fmt: skip


def _with_engine(wish: "Wanted", rundir: RunDir) -> "Wanted":
    """Return the wish with what its engine needs, made where it is missing."""
    if wish.config.engine is EngineName.onnx:
        from phi_runner.model.onnx import export

        exported = export.ensure(
            wish.model_folder, precision=wish.config.precision, outputs=rundir.outputs, events=rundir.events
        )
        return replace(wish, engine_folder=str(exported.folder))
    from phi_runner.deploy import upstream

    prepared = upstream.prepare(wish.config, outputs=rundir.outputs, events=rundir.events)
    return replace(wish, engine_folder=prepared.engine_folder, engine_python=prepared.engine_python)


def wanted(deploy: LocalDeploy, config: RunConfig, registered: Registered, *, outputs: Path) -> "Wanted":
    """Return the endpoint that a run asks for; it serves on the device that the run computes on here."""
    from phi_runner.deploy.local import Wanted

    match config.compute:
        case CpuCompute() | AzureCompute() | SlurmCompute():
            device = "cpu"
        case GpusCompute():
            device = "cuda:0"
        case GpuCompute():
            device = f"cuda:{cuda_number(config.compute.device)}"
        case unknown:
            raise ConfigProblem(f"deploy=local cannot serve on compute of kind {unknown.kind!r}: use compute=cpu")
    return Wanted(
        config=deploy, model_folder=registered.model_folder, label=f"{registered.name}/{registered.version}",
        template_hash=registered.template_hash, device=device, outputs=outputs, answers=registered.answers_file,
    )  # fmt: skip


def _azure(deploy: AzureDeploy, config: RunConfig, inputs: Inputs, rundir: RunDir) -> Endpoint:
    """Roll the registered version out behind the workspace's endpoint; two runs of one outputs folder take turns."""
    from phi_runner.azureml import package
    from phi_runner.azureml.wish import Wish
    from phi_runner.deploy import azure

    registered = inputs.get(StageName.register, Registered)
    workspace = inputs.get(StageName.infra, Workspace)
    if not registered.asset:
        raise ConfigProblem(
            f"{registered.name} version {registered.version} is not in the workspace: add register to the stages"
        )
    if deploy.serving is Serving.code and not registered.template_hash:
        raise ConfigProblem(
            f"{registered.name} version {registered.version} comes from Azure's catalog with a server of its own: "
            "type deploy.serving=mlflow"
        )
    online = endpoints.online(config, name=deploy.name, outputs=rundir.outputs, events=rundir.events)
    wish = Wish(
        deploy=deploy, model=registered.asset, label=f"{registered.name}/{registered.version}",
        template_hash=registered.template_hash, identity=workspace.identity,
        identity_client_id=workspace.identity_client_id,
        code=package.stage_scoring_code(rundir.outputs) if deploy.serving is Serving.code else None,
    )  # fmt: skip

    def waits() -> None:
        rundir.events.info(f"another run deploys {online.name}: waiting")

    with processes.name_lock("azure", online.name, outputs=rundir.outputs, on_wait=waits):
        return azure.deploy(
            wish, online=online, folder=rundir.folder, outputs=rundir.outputs, answers=registered.answers_file,
            detached=not clouds.rehearses(config),  # a rehearsed cloud ends with the run
        )  # fmt: skip


def still_true(config: RunConfig, artifact: Artifact, outputs: Path) -> str:
    """Say why a stored endpoint is not what serves now, or nothing."""
    if not isinstance(artifact, Endpoint):
        return "it is no endpoint"
    return _still_in_azure(config, artifact, outputs) if artifact.resource else _still_here(artifact, outputs)


def _still_in_azure(config: RunConfig, artifact: Endpoint, outputs: Path) -> str:
    problem = endpoints.not_ours(config, artifact.resource)
    if problem:
        return problem
    from phi_runner.deploy import azure

    return azure.changed(artifact, online=endpoints.online(config, name=artifact.name, outputs=outputs))


def _still_here(artifact: Endpoint, outputs: Path) -> str:
    from phi_runner.deploy import local

    running = processes.find(local.KIND, artifact.name, outputs=outputs)
    if running is None or (running.pid, running.url) != (artifact.pid, artifact.url):
        return "the endpoint's process has ended"
    return local.changed(
        running, label=artifact.model, template_hash=artifact.template_hash, key_file=Path(artifact.key_file),
        deployment=artifact.deployment,
    )  # fmt: skip


def skip(config: RunConfig) -> str:
    """Say that no endpoint is asked for, or nothing."""
    return "deploy=none" if isinstance(config.deploy, NoDeploy) else ""


STAGE = Stage(
    name=StageName.deploy,
    about="bring up the model's endpoint, on this machine or in Azure, and prove that it answers",
    run=run,
    produces=Endpoint,
    reads=lambda _config: (StageName.register,),
    uses=lambda config: (StageName.infra,) if isinstance(config.deploy, AzureDeploy) else (),
    place=lambda config: clouds.workspace_of(config) if isinstance(config.deploy, AzureDeploy) else "",
    config_parts=("deploy", "compute"),
    code=(
        "serve",
        "deploy",
        "azureml/endpoints.py",
        "azureml/wish.py",
        "azureml/score",
        "model/answering.py",
        "model/engines",
        "model/onnx",
        "processes.py",
        "template.py",
    ),
    libraries=("fastapi", "torch", "transformers", "uvicorn"),
    pure=False,
    still_true=still_true,
    skip=skip,
)
