"""The command job that performs a stage: what goes up, the command line of the node, what comes out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner import __version__, task
from phi_runner.azureml import environment, package
from phi_runner.azureml import sweep as sweeps
from phi_runner.config.schema import AzureCompute, RunConfig, StageName
from phi_runner.task import MODEL_OUTPUT, Task

if TYPE_CHECKING:
    from azure.ai.ml.entities import Command
    from azure.ai.ml.entities._builders import Sweep

    from phi_runner.azureml.client import Azure

_FOLDER, _FILE, _MODEL = "uri_folder", "uri_file", "mlflow_model"
_VARIABLES = {"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What goes up for a stage and what comes out of its job."""

    stage: StageName
    files: dict[str, str]
    """uri_file inputs by name: local paths or addresses in the workspace."""
    folders: dict[str, str]
    outputs: tuple[str, ...]
    inputs: dict[StageName, dict[str, Any]]
    """Fields of the results that the stage reads."""
    distributed: bool
    """Whether `azure.nodes` and `azure.processes_per_node` count."""


def job(
    azure: "Azure", plan: Plan, *, config: RunConfig, key: str, outputs: Path, name: str,
    grid: sweeps.Grid | None = None,
) -> "Command":  # fmt: skip
    """Return the job that performs a stage, or a sweep's trial of it that takes its overrides from `grid`."""
    from azure.ai.ml import Input, Output, command

    compute = _compute(config)
    told = Task(stage=plan.stage, key=key, config=config, inputs=plan.inputs)
    file = task.write(told, file=outputs / "azure" / "jobs" / name / "job.yaml")
    given: dict[str, Any] = {k: Input(type=_FILE, path=v) for k, v in (plan.files | {"config": str(file)}).items()}
    given |= {k: Input(type=_FOLDER, path=path) for k, path in plan.folders.items()}
    return command(
        name=name,
        display_name=f"{plan.stage} {key[:12]}",
        experiment_name=config.tracking.experiment,
        code=str(package.stage_code(outputs)),
        command=_command_line(plan, given=list(given), grid=grid or {}),
        environment=environment.ensure_training(azure, compute=compute, more=_more(plan, config)),
        compute=compute.cluster,
        inputs=given | sweeps.first(grid or {}),
        outputs={k: Output(type=_MODEL if k == MODEL_OUTPUT else _FOLDER) for k in plan.outputs},
        environment_variables=dict(_VARIABLES),
        tags={"phi_runner.key": key, "phi_runner.stage": str(plan.stage), "phi_runner.version": __version__},
        **_spread(plan, config),
    )


def sweep(
    azure: "Azure", plan: Plan, *, config: RunConfig, key: str, outputs: Path, name: str, grid: sweeps.Grid
) -> "Sweep":
    """Return the sweep over a stage's job."""
    trial = job(azure, plan, config=config, key=key, outputs=outputs, name=name, grid=grid)
    return sweeps.job(trial, config=config, name=name, grid=grid)


def _command_line(plan: Plan, *, given: list[str], grid: sweeps.Grid) -> str:
    words = [f"python -m phi_runner.remote --stage {plan.stage}"]
    words += [f"--{_option(name)} ${{{{inputs.{name}}}}}" for name in given]
    words += [f"--{_option(name)} ${{{{outputs.{name}}}}}" for name in plan.outputs]
    return " ".join([*words, *sweeps.arguments(grid)])


def _more(plan: Plan, config: RunConfig) -> tuple[str, ...]:
    """Return what only some jobs need: the LM Evaluation Harness where its tasks are asked."""
    return ("lm_eval",) if plan.stage is StageName.evaluate and config.evaluate.tasks else ()


def _option(name: str) -> str:
    return name.replace("_", "-")


def _spread(plan: Plan, config: RunConfig) -> dict[str, Any]:
    """Return over how many nodes and processes a job is spread."""
    from azure.ai.ml import PyTorchDistribution

    nodes, processes = config.azure.nodes, config.azure.processes_per_node
    if not plan.distributed or nodes * processes == 1:
        return {"instance_count": 1}
    return {"instance_count": nodes, "distribution": PyTorchDistribution(process_count_per_instance=processes)}


def _compute(config: RunConfig) -> AzureCompute:
    if not isinstance(config.compute, AzureCompute):
        raise TypeError(f"compute={config.compute.kind} is not a cluster of a workspace")
    return config.compute
