"""What an engine with a server of its own needs before it is deployed: an interpreter, and the code that it runs."""

import sys
from dataclasses import dataclass
from pathlib import Path

from phi_runner import venvs
from phi_runner.azureml import environment, package
from phi_runner.config.schema import EngineName, LocalDeploy
from phi_runner.errors import DeployFailed
from phi_runner.events import StageEvents
from phi_runner.serve.upstream import presence


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the endpoint's settings are told; both are empty for an engine that lives in our own process."""

    engine_python: str = ""
    engine_folder: str = ""


def problems(config: LocalDeploy) -> str:
    """Say why the engine cannot run here, or nothing; quick, and nothing is changed."""
    match config.engine:
        case EngineName.vllm:
            return presence.vllm(config.python)
        case EngineName.azureml:
            return presence.azureml(config.python)
        case _:
            return ""


def prepare(config: LocalDeploy, *, outputs: Path, events: StageEvents) -> Prepared:
    """Make ready what the engine needs; raises DeployFailed or EnvironmentNotMade."""
    if reason := problems(config):
        raise DeployFailed(reason)
    match config.engine:
        case EngineName.vllm:
            return Prepared(engine_python=config.python or sys.executable)
        case EngineName.azureml:
            python = config.python or _environment(outputs, events)
            return Prepared(engine_python=python, engine_folder=str(package.stage_scoring_code(outputs).absolute()))
        case _:
            return Prepared()


def _environment(outputs: Path, events: StageEvents) -> str:
    made = venvs.ensure(
        "azureml", requirements=environment.scoring_requirements(), home=outputs / "environments",
        option="deploy.python", events=events,
    )  # fmt: skip
    return str(made)
