"""What a run makes, uses or replaces in Azure: names follow from the config, and the ledger says what is there."""

from collections.abc import Iterator
from dataclasses import dataclass

from phi_runner.azureml.names import Ids, job_name, short
from phi_runner.config import clouds
from phi_runner.config.schema import (
    AzureCompute,
    AzureDeploy,
    CatalogTrain,
    FoundryFlow,
    RunConfig,
    StageName,
)
from phi_runner.ledger import Entry, Step
from phi_runner.plan.document import Action, Effect, StagePlan, Verdict, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """The cloud as the ledger of one outputs folder shows it."""

    config: RunConfig
    ids: Ids
    ledger: dict[str, Entry]
    """By ARM id, in small letters."""
    where: Where

    def effect(self, kind: str, resource: str, *, stage: StageName, note: str = "") -> Effect:
        """Return what becomes of a thing that is found or made."""
        entry = self.ledger.get(resource.lower())
        action = Action.keep if entry is not None and entry.step is Step.made else Action.ensure
        return Effect(action=action, where=self.where, kind=kind, name=short(resource), stage=stage, note=note)

    def inside(self, resource: str) -> list[Entry]:
        """Return what the ledger holds below a thing."""
        start = f"{resource.lower()}/"
        return [entry for key, entry in self.ledger.items() if key.startswith(start)]


def effects(config: RunConfig, stages: list[StagePlan], *, ledger: list[Entry]) -> list[Effect]:
    """Return what the stages that run do in Azure, in their order."""
    where = Where.rehearsal if clouds.rehearses(config) else Where.azure
    by_id = {entry.resource.lower(): entry for entry in ledger}
    sight = _Sight(config=config, ids=Ids(config.azure), ledger=by_id, where=where)
    running = [stage for stage in stages if stage.verdict in {Verdict.run, Verdict.stop, Verdict.unreached}]
    return list(dict.fromkeys(effect for stage in running for effect in _of(stage, sight)))


def _of(stage: StagePlan, sight: _Sight) -> Iterator[Effect]:
    config = sight.config
    match stage.name:
        case StageName.infra:
            yield from _infra(sight)
        case StageName.train | StageName.evaluate:
            yield from _jobs(stage, sight)
        case StageName.register if clouds.registers_in_workspace(config):
            yield Effect(
                action=Action.ensure, where=sight.where, kind="model version", name=config.register.name,
                stage=stage.name,
            )  # fmt: skip
        case StageName.deploy if isinstance(config.deploy, AzureDeploy):
            yield from _endpoint(config.deploy, sight)
        case StageName.flow if isinstance(config.flow, FoundryFlow):
            yield from _foundry(config.flow, sight)
        case _:
            return


def _infra(sight: _Sight) -> Iterator[Effect]:
    ids, stage = sight.ids, StageName.infra
    for kind, resource in (
        ("resource group", ids.resource_group),
        ("container registry", ids.registry),
        ("storage account", ids.storage),
        ("key vault", ids.key_vault),
        ("log analytics", ids.log_analytics),
        ("application insights", ids.app_insights),
        ("workspace", ids.workspace),
        ("identity", ids.identity),
    ):
        yield sight.effect(kind, resource, stage=stage)
    yield Effect(
        action=Action.ensure, where=sight.where, kind="role assignments", stage=stage,
        name="Contributor, Storage Blob Data Reader, AcrPull",
    )  # fmt: skip
    if cluster := clouds.cluster_of(sight.config):
        nodes = f"{cluster.min_nodes} to {cluster.max_nodes} nodes of {cluster.vm_size}, given back after "
        yield sight.effect("cluster", ids.cluster(cluster.cluster), stage=stage, note=f"{nodes}{cluster.idle_s} s idle")


def _jobs(stage: StagePlan, sight: _Sight) -> Iterator[Effect]:
    """Yield what a stage starts as a job of the workspace."""
    config, catalog = sight.config, isinstance(sight.config.train, CatalogTrain)
    swept = bool(config.sweep.grid) and stage.name is StageName.train
    name = job_name("sweep" if swept else stage.name, stage.key) if stage.key else f"phi-{stage.name}-..."
    if catalog and stage.name is StageName.train:
        note = "the model catalog's own fine-tune"
    elif isinstance(config.compute, AzureCompute):
        yield Effect(
            action=Action.ensure, where=sight.where, kind="environment", name=config.compute.environment,
            stage=StageName.train,
        )  # fmt: skip
        note = f"on {config.compute.cluster}, {config.azure.nodes} x {config.compute.vm_size}"
    else:
        return
    kind = "sweep job" if swept else "job"
    yield Effect(action=Action.start, where=sight.where, kind=kind, name=name, stage=stage.name, note=note)


def _endpoint(deploy: AzureDeploy, sight: _Sight) -> Iterator[Effect]:
    resource = sight.ids.endpoint(sight.ids.endpoint_name(deploy))
    yield sight.effect("endpoint", resource, stage=StageName.deploy)
    old = [entry for entry in sight.inside(resource) if entry.kind == "deployment"]
    free = "green" if any(entry.name == "blue" for entry in old) else "blue"
    size = f"{deploy.instances} x {deploy.instance_type}, stays until teardown"
    yield Effect(
        action=Action.create, where=sight.where, kind="deployment", name=free, stage=StageName.deploy, note=size
    )  # fmt: skip
    for entry in old:
        note = "once the new one has all the traffic"
        yield Effect(
            action=Action.delete, where=sight.where, kind="deployment", name=entry.name, stage=StageName.deploy,
            note=note, usd_per_hour=entry.usd_per_hour,
        )  # fmt: skip


def _foundry(flow: FoundryFlow, sight: _Sight) -> Iterator[Effect]:
    ids, azure = sight.ids, sight.config.azure
    yield sight.effect("hub", ids.hub, stage=StageName.flow)
    yield sight.effect("project", ids.project, stage=StageName.flow)
    yield sight.effect("connection", ids.connection(azure.project, flow.connection), stage=StageName.flow)
    yield Effect(
        action=Action.ensure, where=sight.where, kind="data asset", name=flow.name, stage=StageName.flow,
        note="the flow's folder",
    )  # fmt: skip
