"""What a plan says is made, used, changed and taken away: on this machine and in Azure, by files alone."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from phi_runner import processes
from phi_runner.azureml.names import Ids
from phi_runner.config.schema import (
    AccountAzure,
    AzureCompute,
    AzureDeploy,
    FoundryFlow,
    HubModel,
    LocalDeploy,
    RehearsalAzure,
    RunConfig,
    StageName,
)
from phi_runner.ledger import Ledger
from phi_runner.plan.document import Action, Effect, Plan, Where
from phi_runner.plan.make import made
from phi_runner.processes import Running
from tests import runs

_SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def in_azure(tmp_path: Path) -> RunConfig:
    config = runs.config(
        StageName.infra, StageName.data, StageName.train, StageName.register, StageName.deploy, StageName.flow,
        outputs=tmp_path / "outputs", azure=AccountAzure(subscription=_SUBSCRIPTION),
    )  # fmt: skip
    cluster = AzureCompute(cluster="gpus", vm_size="Standard_NC24ads_A100_v4", image="i", gpu=True)
    return replace(config, compute=cluster, deploy=AzureDeploy(), flow=FoundryFlow())


def plan_of(config: RunConfig) -> Plan:
    return made(config, overrides=[], recipe="")


def found(plan: Plan, kind: str) -> Effect:
    return next(effect for effect in plan.effects if effect.kind == kind)


def test_azure_things_are_found_or_made_in_the_order_of_the_stages(in_azure: RunConfig) -> None:
    plan = plan_of(in_azure)
    kinds = [effect.kind for effect in plan.effects if effect.where is Where.azure]
    assert kinds[0] == "resource group"
    assert kinds[-4:] == ["hub", "project", "connection", "data asset"]
    assert found(plan, "workspace").action is Action.ensure
    assert found(plan, "cluster").name == "gpus"
    assert found(plan, "job").name.startswith("phi-train-")
    assert found(plan, "deployment").name == "blue"


def test_what_the_ledger_holds_is_used_and_the_old_deployment_goes(in_azure: RunConfig) -> None:
    outputs, ids = Path(in_azure.outputs), Ids(in_azure.azure)
    outputs.mkdir()
    ledger, endpoint = Ledger(outputs), ids.endpoint_name(AzureDeploy())
    for kind, resource in (("workspace", ids.workspace), ("deployment", ids.deployment(endpoint, "blue"))):
        ledger.plan(kind, resource, usd_per_hour=0.25, scope="public")
        ledger.made(resource)
    plan = plan_of(in_azure)
    assert found(plan, "workspace").action is Action.keep
    deployments = [(effect.action, effect.name) for effect in plan.effects if effect.kind == "deployment"]
    assert deployments == [(Action.create, "green"), (Action.delete, "blue")]


def test_cores_are_counted_by_family_with_what_azure_holds_back(in_azure: RunConfig) -> None:
    cores = {item.quota: item.cores for item in plan_of(in_azure).cores}
    assert cores == {
        "Standard NCADSA100v4 Family Cluster Dedicated vCPUs": 24,
        "Standard ESv3 Family Cluster Dedicated vCPUs": 5,
    }
    rehearsed = replace(in_azure, azure=RehearsalAzure())
    assert plan_of(rehearsed).cores == ()
    assert {effect.where for effect in plan_of(rehearsed).effects} == {Where.here, Where.rehearsal}


def test_a_model_of_the_hub_is_downloaded_unless_its_cache_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    config = runs.config(StageName.data, StageName.train, outputs=tmp_path / "outputs")
    config = replace(config, model=HubModel(repo="microsoft/phi-4", context=16384))
    assert found(plan_of(config), "model").action is Action.download
    (tmp_path / "hub" / "models--microsoft--phi-4" / "snapshots").mkdir(parents=True)
    assert found(plan_of(config), "model").action is Action.keep


def _running(outputs: Path) -> Running:
    """Write this very process down as a server that stays."""
    pid = os.getpid()
    server = Running(
        name="phi-endpoint", kind="endpoint", pid=pid, created=processes.created(pid), url="http://127.0.0.1:9",
        log="", detached=True,
    )  # fmt: skip
    processes.write_down(server, outputs=outputs)
    return server


def test_teardown_lists_servers_and_ledger_and_leaves_other_clouds(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    _running(outputs)
    ledger = Ledger(outputs)
    ledger.plan("endpoint", "/subscriptions/s/endpoints/mine", usd_per_hour=0.25, scope="public")
    ledger.plan("workspace", "/subscriptions/s/workspaces/other", scope="rehearsal")
    config = runs.config(StageName.teardown, outputs=outputs, azure=AccountAzure(subscription=_SUBSCRIPTION))
    told = [(effect.action, effect.where, effect.kind, effect.name) for effect in plan_of(config).effects]
    assert told == [
        (Action.stop, Where.here, "endpoint", "phi-endpoint"),
        (Action.delete, Where.azure, "endpoint", "mine"),
        (Action.leave, Where.rehearsal, "workspace", "other"),
    ]


def test_a_running_endpoint_is_changed_and_its_record_stays(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    _running(outputs)
    dead = Running(name="gone", kind="endpoint", pid=2**22 + 1, created=0.0, url="", log="", detached=True)
    processes.write_down(dead, outputs=outputs)
    config = runs.config(StageName.data, StageName.train, StageName.register, StageName.deploy, outputs=outputs)
    plan = plan_of(replace(config, deploy=LocalDeploy(detach=True)))
    assert found(plan, "endpoint").action is Action.change
    assert sorted(file.name for file in (outputs / "running").glob("*.json")) == [
        "endpoint-gone.json", "endpoint-phi-endpoint.json",
    ]  # fmt: skip
