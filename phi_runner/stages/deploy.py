"""Stage `deploy`: the registered model behind an endpoint that passed its smoke test."""

from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner import processes
from phi_runner.artifacts import Artifact, Endpoint, Registered
from phi_runner.config.schema import CpuCompute, GpuCompute, LocalDeploy, NoDeploy, RunConfig, StageName
from phi_runner.environment import cuda_number
from phi_runner.errors import ConfigProblem
from phi_runner.stages.stage import Inputs, RunDir, Stage

if TYPE_CHECKING:
    from phi_runner.deploy.local import Wanted


def run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Endpoint:
    """Start the endpoint that the config names, or keep the one that serves the same; raises DeployFailed."""
    match config.deploy:
        case LocalDeploy():
            return _local(config.deploy, config, inputs.get(StageName.register, Registered), rundir)
        case unknown:
            raise ConfigProblem(f"stage deploy cannot start an endpoint of kind {unknown.kind!r}: use deploy=local")


def _local(deploy: LocalDeploy, config: RunConfig, registered: Registered, rundir: RunDir) -> Endpoint:
    from phi_runner.deploy import local

    wish = wanted(deploy, config, registered, outputs=rundir.outputs)
    running = local.deploy(wish, events=rundir.events)
    return Endpoint(
        folder=rundir.folder, name=running.name, url=running.url, key_file=str(wish.key_file), pid=running.pid,
        model=wish.label, template_hash=wish.template_hash, detached=running.detached,
    )  # fmt: skip


def wanted(deploy: LocalDeploy, config: RunConfig, registered: Registered, *, outputs: Path) -> "Wanted":
    """Return the endpoint that a run asks for; it serves on the device that the run computes on."""
    from phi_runner.deploy.local import Wanted

    match config.compute:
        case CpuCompute():
            device = "cpu"
        case GpuCompute():
            device = f"cuda:{cuda_number(config.compute.device)}"
        case unknown:
            raise ConfigProblem(f"deploy=local cannot serve on compute of kind {unknown.kind!r}: use compute=cpu")
    return Wanted(
        config=deploy, model_folder=registered.model_folder, label=f"{registered.name}/{registered.version}",
        template_hash=registered.template_hash, device=device, outputs=outputs,
    )  # fmt: skip


def still_true(_config: RunConfig, artifact: Artifact, outputs: Path) -> str:
    """Say why a stored endpoint is not what serves now, or nothing."""
    from phi_runner.deploy import local

    if not isinstance(artifact, Endpoint):
        return "it is no endpoint"
    running = processes.find(local.KIND, artifact.name, outputs=outputs)
    if running is None or (running.pid, running.url) != (artifact.pid, artifact.url):
        return "the endpoint's process has ended"
    return local.changed(
        running, label=artifact.model, template_hash=artifact.template_hash, key_file=Path(artifact.key_file)
    )


def skip(config: RunConfig) -> str:
    """Say that no endpoint is asked for, or nothing."""
    return "deploy=none" if isinstance(config.deploy, NoDeploy) else ""


STAGE = Stage(
    name=StageName.deploy,
    about="start the model's endpoint on this machine and prove that it answers",
    run=run,
    produces=Endpoint,
    reads=lambda _config: (StageName.register,),
    config_parts=("deploy", "compute"),
    code=("serve", "deploy", "model/answering.py", "model/engine.py", "processes.py", "template.py"),
    libraries=("fastapi", "torch", "transformers", "uvicorn"),
    pure=False,
    still_true=still_true,
    skip=skip,
)
