"""Whether a stored result still stands for something in the world, as far as this machine's files tell: no socket."""

from dataclasses import replace
from pathlib import Path

from phi_runner import processes
from phi_runner.artifacts import Artifact, Endpoint, Flow, Registered, Workspace
from phi_runner.azureml.names import Ids
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.ledger import Ledger
from phi_runner.stages import STAGES, endpoints
from phi_runner.stages.stage import Stage, unchanged

_REMOTE = ("http://", "https://", "databricks")
_ENDPOINT = "endpoint"


def stages() -> dict[StageName, Stage]:
    """Return the stages by name, each with a look at the world that asks nobody."""
    return {stage.name: offline(stage) for stage in STAGES}


def offline(stage: Stage) -> Stage:
    """Return the stage as a plan sees it."""
    if stage.still_true is unchanged:
        return stage
    return replace(stage, still_true=_LOOKS.get(stage.name, stage.still_true))


def unsure(config: RunConfig, artifact: Artifact) -> str:
    """Say what of a stored result only the run can check, or nothing."""
    match artifact:
        case Workspace():
            return f"workspace {artifact.name} is looked at when it runs"
        case Registered() if artifact.asset:
            return "the workspace is asked for the version when it runs"
        case Registered() if artifact.tracking_uri.startswith(_REMOTE):
            return f"the registry at {artifact.tracking_uri} is asked when it runs"
        case Endpoint():
            where = "in Azure" if artifact.resource else f"at {artifact.url}"
            return f"the endpoint {where} is asked when it runs"
        case Flow():
            return "flow folder and connection are looked at when it runs"
        case _:
            return ""


def _infra(config: RunConfig, artifact: Artifact, outputs: Path) -> str:
    gone = Ledger(outputs).took_away(Ids(config.azure).workspace)
    return f"workspace {config.azure.workspace} was removed by teardown" if gone else ""


def _register(config: RunConfig, artifact: Artifact, outputs: Path) -> str:
    if not isinstance(artifact, Registered):
        return "it is no registered model"
    if artifact.asset:
        gone = Ledger(outputs).took_away(artifact.asset.partition("/models/")[0])
        return "its workspace was removed by teardown" if gone else ""
    if artifact.tracking_uri.startswith(_REMOTE):
        there = not artifact.source or (artifact.model_folder / "config.json").is_file()
        return "" if there else f"the weights in {artifact.source} are gone"
    return next(stage for stage in STAGES if stage.name is StageName.register).still_true(config, artifact, outputs)


def _deploy(config: RunConfig, artifact: Artifact, outputs: Path) -> str:
    if not isinstance(artifact, Endpoint):
        return "it is no endpoint"
    if artifact.resource:
        gone = Ledger(outputs).took_away(artifact.resource)
        return "the endpoint was removed by teardown" if gone else endpoints.not_ours(config, artifact.resource)
    found = [item for item in processes.seen(outputs=outputs) if (item.kind, item.name) == (_ENDPOINT, artifact.name)]
    if not any((item.pid, item.url) == (artifact.pid, artifact.url) for item in found):
        return "the endpoint's process has ended"
    return "" if found[0].detached else "it ends with another run"


def _flow(_config: RunConfig, artifact: Artifact, _outputs: Path) -> str:
    return "" if isinstance(artifact, Flow) else "it is no chat flow"


_LOOKS = {
    StageName.infra: _infra, StageName.register: _register, StageName.deploy: _deploy, StageName.flow: _flow,
}  # fmt: skip
