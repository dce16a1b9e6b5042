"""What a run starts, writes or fetches on this machine beside its results in the store."""

import os
from collections.abc import Iterator
from pathlib import Path

from phi_runner import processes
from phi_runner.config import clouds
from phi_runner.config.schema import (
    AgentFlow,
    CatalogTrain,
    ChatFlow,
    ChatUi,
    EngineName,
    HubData,
    HubModel,
    LocalDeploy,
    RunConfig,
    SlurmCompute,
    StageName,
)
from phi_runner.plan.document import Action, Effect, StagePlan, Verdict, Where

_UNTIL_END = "until the run ends"
_UNTIL_TEARDOWN = "until teardown"


def effects(config: RunConfig, stages: list[StagePlan], *, outputs: Path) -> list[Effect]:
    """Return what the stages that run do here, in their order."""
    running = [stage.name for stage in stages if stage.verdict in {Verdict.run, Verdict.stop, Verdict.unreached}]
    found = list(_rehearsal(config, running))
    for name in running:
        found += _of(name, config, outputs=outputs)
    return found


def _here(action: Action, kind: str, name: str, stage: StageName, note: str = "") -> Effect:
    return Effect(action=action, where=Where.here, kind=kind, name=name, stage=stage, note=note)


def _rehearsal(config: RunConfig, running: list[StageName]) -> Iterator[Effect]:
    if clouds.rehearses(config) and running:
        yield _here(Action.start, "process", "emulated Azure", running[0], _UNTIL_END)


def _of(name: StageName, config: RunConfig, *, outputs: Path) -> Iterator[Effect]:
    match name:
        case StageName.data if isinstance(config.data, HubData):
            yield _here(Action.download, "data set", config.data.repo, name, "from the hub, unless its cache has it")
        case StageName.train:
            yield from _train(config)
        case StageName.register if not clouds.registers_in_workspace(config):
            alias = f"alias {config.register.alias} moves to it"
            yield _here(Action.create, "model version", config.register.name, name, f"in MLflow; {alias}")
        case StageName.deploy if isinstance(config.deploy, LocalDeploy):
            yield from _endpoint(config.deploy, outputs=outputs)
        case StageName.flow if isinstance(config.flow, ChatFlow):
            yield from _flow(config, config.flow, outputs=outputs)
        case StageName.chat if config.chat.ui is ChatUi.page:
            yield _here(Action.start, "process", "chat page", name, "until Ctrl-C")
        case _:
            return


def _train(config: RunConfig) -> Iterator[Effect]:
    model = config.model
    if isinstance(model, HubModel) and not model.path and not clouds.cluster_of(config):
        there = _is_cached(model.repo)
        action = Action.keep if there else Action.download
        note = "in the hub's cache" if there else "from the hub"
        yield _here(action, "model", model.repo, StageName.train, note)
    if isinstance(config.compute, SlurmCompute):
        note = f"{config.compute.nodes} node(s), at most {config.compute.time_min} min"
        yield Effect(
            action=Action.start, where=Where.slurm, kind="job", name="train", stage=StageName.train, note=note
        )  # fmt: skip
    where = "its own server" if config.tracking.uri else "MLflow's database in outputs"
    if not isinstance(config.train, CatalogTrain):
        yield _here(Action.create, "MLflow run", config.tracking.experiment, StageName.train, f"in {where}")


def _is_cached(repo: str) -> bool:
    """Say whether the hub's cache on this machine holds something of a model."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    return (cache / f"models--{repo.replace('/', '--')}" / "snapshots").is_dir()


def _endpoint(deploy: LocalDeploy, *, outputs: Path) -> Iterator[Effect]:
    stage = StageName.deploy
    if deploy.engine is EngineName.onnx:
        yield _here(Action.ensure, "exported model", f"onnx {deploy.precision}", stage)
    if deploy.engine is EngineName.azureml and not deploy.python:
        yield _here(Action.ensure, "Python environment", "azureml", stage, "packages from PyPI")
    old = _running("endpoint", deploy.name, outputs=outputs)
    until = _UNTIL_TEARDOWN if deploy.detach else _UNTIL_END
    if old and old.detached:
        yield _here(Action.change, "endpoint", deploy.name, stage, f"a new deployment behind {old.url}, {until}")
    else:
        yield _here(Action.start, "endpoint", deploy.name, stage, f"a process, {until}")


def _flow(config: RunConfig, flow: ChatFlow, *, outputs: Path) -> Iterator[Effect]:
    stage = StageName.flow
    folder = outputs / "flows" / flow.name
    yield _here(Action.change if folder.is_dir() else Action.create, "folder", f"flows/{flow.name}", stage)
    if isinstance(flow, AgentFlow) and not flow.python:
        yield _here(Action.ensure, "Python environment", flow.kind, stage, "packages from PyPI")
    if flow.serve:
        stays = isinstance(config.deploy, LocalDeploy) and not config.deploy.detach
        yield _here(Action.start, "flow page", flow.name, stage, _UNTIL_END if stays else _UNTIL_TEARDOWN)


def _running(kind: str, name: str, *, outputs: Path) -> processes.Running | None:
    found = processes.seen(outputs=outputs)
    return next((item for item in found if (item.kind, item.name) == (kind, name)), None)
