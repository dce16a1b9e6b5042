"""Everything that a run needs in Azure before its first job: found or made, never replaced, never removed."""

from dataclasses import dataclass
from typing import Any

from phi_runner.azureml import clusters, quota, roles, services, versions
from phi_runner.azureml.client import Azure
from phi_runner.azureml.names import Ids, short
from phi_runner.azureml.services import Maker
from phi_runner.azureml.wording import in_our_words
from phi_runner.config import clouds
from phi_runner.config.schema import RunConfig
from phi_runner.errors import RemoteFailed
from phi_runner.events import StageEvents
from phi_runner.ledger import Ledger, Made

Body = dict[str, Any]
Fields = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The workspace as it is, with the ids of the services that it uses."""

    resource: str
    storage: str
    registry: str


def converge(azure: Azure, config: RunConfig, *, events: StageEvents, ledger: Ledger) -> Fields:
    """Find or make what the run needs, cores counted first; returns the fields of `artifacts.Workspace`.

    Raises RemoteFailed; what was made by then is in the ledger, and the same command goes on from there.
    """
    maker = Maker(azure=azure, ledger=ledger, events=events)
    tenant = _subscription(azure)
    quota.check(config, azure=azure, events=events)
    _resource_group(maker)
    parts = _workspace(maker, tenant=tenant)
    identity = _identity(maker)
    roles.assign(maker, principal=identity["principalId"], storage=parts.storage, registry=parts.registry)
    cluster = clouds.cluster_of(config)
    if cluster:
        clusters.ensure(maker, cluster)
    studio = f"{azure.studio}/?wsid={azure.ids.workspace}&tid={tenant}"
    return {
        "subscription": azure.config.subscription,
        "resource_group": azure.config.resource_group,
        "region": azure.config.region,
        "name": azure.config.workspace,
        "resource": parts.resource,
        "storage": parts.storage,
        "registry": parts.registry,
        "identity": azure.ids.identity,
        "identity_client_id": str(identity["clientId"]),
        "identity_principal_id": str(identity["principalId"]),
        "cluster": cluster.cluster if cluster else "",
        "studio_url": studio,
    }


def what_is_gone(azure: Azure, config: RunConfig, *, registry: str, storage: str) -> str:
    """Say what of a workspace that was complete is not there any more, or nothing."""
    ids, cluster = azure.ids, clouds.cluster_of(config)
    looked_for = [
        (f"workspace {short(ids.workspace)}", ids.workspace, versions.MACHINE_LEARNING),
        (f"identity {short(ids.identity)}", ids.identity, versions.IDENTITIES),
        (f"storage account {short(storage)}", storage, versions.STORAGE),
        (f"registry {short(registry)}", registry, versions.REGISTRIES),
    ]
    if cluster:
        looked_for.append((f"cluster {cluster.cluster}", ids.cluster(cluster.cluster), versions.MACHINE_LEARNING))
    with in_our_words(f"looking at workspace {short(ids.workspace)}"):
        for what, resource, api_version in looked_for:
            found = azure.arm.get(resource, api_version=api_version)
            if found is None:
                return f"{what} is not there any more"
            if services.broken(found):
                return f"{what} is broken"
    return "the cores for it are missing" if quota.shortages(config, azure=azure) else ""


def _subscription(azure: Azure) -> str:
    """Return the subscription's directory; raises RemoteFailed when the account does not have the subscription."""
    with in_our_words(f"subscription {azure.config.subscription}"):
        found = azure.arm.get(azure.ids.subscription, api_version=versions.SUBSCRIPTIONS)
    if found is None:
        raise RemoteFailed(
            f"subscription {azure.config.subscription}: this account has no such subscription: `az account list -o "
            "table` shows which it has, then type azure.subscription=ID"
        )
    return str(found.get("tenantId") or azure.config.tenant)


def _resource_group(maker: Maker) -> None:
    maker.ensure(
        Made.resource_group, maker.azure.ids.resource_group, api_version=versions.RESOURCE_GROUPS,
        body=lambda: {"location": maker.azure.config.region},
    )  # fmt: skip


def _workspace(maker: Maker, *, tenant: str) -> Parts:
    """Find the workspace or make it with its services; one that is there keeps the services that it has."""
    azure, ids = maker.azure, maker.azure.ids
    with in_our_words(f"workspace {azure.config.workspace}"):
        found = azure.arm.settled(ids.workspace, api_version=versions.MACHINE_LEARNING)
    if found is None:
        _services(maker, tenant=tenant)
        with maker.making(Made.workspace, ids.workspace):
            found = _made(maker)
    elif services.broken(found):
        _services(maker, tenant=tenant)
        maker.events.info(f"makes workspace {azure.config.workspace} again: it was left half-made")
        with in_our_words(f"workspace {azure.config.workspace}"):
            found = azure.arm.put(ids.workspace, _body(ids), api_version=versions.MACHINE_LEARNING)
    maker.ledger.made(ids.workspace)
    if services.broken(found):
        raise RemoteFailed(
            f"workspace {azure.config.workspace} was left half-made by Azure: remove it with stages=[teardown] (or `az "
            f"ml workspace delete -n {azure.config.workspace} -g {azure.config.resource_group} -p`) and run again"
        )
    return _complete(maker, found)


def _services(maker: Maker, *, tenant: str) -> None:
    ids = maker.azure.ids
    services.registry(maker, ids.registry)
    services.storage(maker, ids.storage)
    services.key_vault(maker, ids.key_vault, tenant=tenant)
    services.insights(maker, ids.app_insights, logs=ids.log_analytics)


def _made(maker: Maker) -> Body:
    """Make the workspace with azure-ai-ml, from services that are there: so the ledger knows all their names."""
    from azure.ai.ml.entities import Workspace

    azure, ids = maker.azure, maker.azure.ids
    wanted = Workspace(
        name=azure.config.workspace, location=azure.config.region, storage_account=ids.storage,
        key_vault=ids.key_vault, application_insights=ids.app_insights, container_registry=ids.registry,
    )  # fmt: skip
    maker.events.info(f"makes workspace {azure.config.workspace} in {azure.config.region}")
    with in_our_words(f"workspace {azure.config.workspace}"):
        azure.ml.workspaces.begin_create(wanted).result(timeout=azure.config.wait_s)
        found = azure.arm.settled(ids.workspace, api_version=versions.MACHINE_LEARNING)
    if found is None:
        raise RemoteFailed(
            f"workspace {azure.config.workspace} is not there after its making: the same command makes it again"
        )
    return found


def _body(ids: Ids) -> Body:
    return {
        "location": ids.config.region, "identity": {"type": "SystemAssigned"},
        "properties": {
            "friendlyName": ids.config.workspace, "storageAccount": ids.storage, "keyVault": ids.key_vault,
            "applicationInsights": ids.app_insights, "containerRegistry": ids.registry,
        },
    }  # fmt: skip


def _complete(maker: Maker, found: Body) -> Parts:
    """Return the workspace's parts; a registry that it lacks is made and tied to it."""
    azure, ids, properties = maker.azure, maker.azure.ids, found["properties"]
    _same_region(found, azure=azure)
    storage, registry = str(properties.get("storageAccount") or ""), str(properties.get("containerRegistry") or "")
    with in_our_words(f"workspace {azure.config.workspace}"):
        if not azure.arm.exists(storage, api_version=versions.STORAGE):
            raise RemoteFailed(
                f"workspace {azure.config.workspace} has lost its storage account {short(storage)}: bring that back in "
                "the portal, or type azure.workspace=ANOTHER"
            )
        services.registry(maker, registry or ids.registry)
        if not registry:
            maker.events.info(f"gives workspace {azure.config.workspace} the registry {short(ids.registry)}")
            body = {"properties": {"containerRegistry": ids.registry}}
            azure.arm.patch(ids.workspace, body, api_version=versions.MACHINE_LEARNING)
    return Parts(resource=str(found["id"]), storage=storage, registry=registry or ids.registry)


def _same_region(found: Body, *, azure: Azure) -> None:
    region = str(found.get("location") or azure.config.region).replace(" ", "").lower()
    if region != azure.config.region:
        raise RemoteFailed(
            f"workspace {azure.config.workspace} is in {region}, not in {azure.config.region}: type "
            f"azure.region={region}, or azure.workspace=ANOTHER"
        )


def _identity(maker: Maker) -> Body:
    """Find or make the identity that endpoints run as; returns its `principalId` and `clientId`."""
    found = maker.ensure(
        Made.identity, maker.azure.ids.identity, api_version=versions.IDENTITIES,
        body=lambda: {"location": maker.azure.config.region},
    )  # fmt: skip
    properties: Body = found["properties"]
    return properties
