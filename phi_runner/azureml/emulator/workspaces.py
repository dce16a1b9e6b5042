"""Workspaces, hubs and projects: made directly or by a template deployment, with their datastores and addresses."""

import re
import uuid
from typing import Any

from starlette.responses import Response

from phi_runner.azureml.emulator.answers import ARM_HOST, accepted, error, ok
from phi_runner.azureml.emulator.arm import missing, no_group, refusal, stranger
from phi_runner.azureml.emulator.cloud import OBJECT_ID, TENANT, Body, Call, Cloud, now

_WORKSPACE = re.compile(
    r"(?:/[a-z-]+/v\d\.\d)?(/subscriptions/[^/]+/resourcegroups/[^/]+/providers/"
    r"microsoft\.machinelearningservices/workspaces/[^/]+)(/.*)?"
)
_TEMPLATE = re.compile(
    r"/subscriptions/[^/]+/resourcegroups/[^/]+/(providers/microsoft\.resources/)?deployments/[^/]+(/operations)?"
)
_DATASTORES = {"workspaceblobstore": "azureml-blobstore-1", "workspaceartifactstore": "azureml"}
_KINDS = {"hub": "Hub", "project": "Project", "featurestore": "FeatureStore"}
_ML = "Microsoft.MachineLearningServices/workspaces"
_PARTS = (
    ("storageAccount", "storageAccount", "Microsoft.Storage/storageAccounts"),
    ("keyVault", "keyVault", "Microsoft.KeyVault/vaults"),
    ("applicationInsights", "applicationInsights", "Microsoft.Insights/components"),
    ("containerRegistry", "containerRegistry", "Microsoft.ContainerRegistry/registries"),
)
"""A workspace's property, the template parameters' stem, and the kind of the service."""


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer for workspaces; every call below one that is missing, or in a foreign subscription, ends here."""
    low = call.low.rstrip("/")
    if call.host.endswith(".api.azureml.ms") and low.endswith("discovery"):
        return ok(_discovery(call.host))
    if refused := stranger(cloud, call):
        return refused
    if _TEMPLATE.fullmatch(low):
        return _deployment(cloud, call)
    found = _WORKSPACE.fullmatch(low)
    if not found:
        return None
    path, rest = found[1], found[2] or ""
    if not rest:
        return _workspace(cloud, call) if call.host == ARM_HOST else None
    if cloud.get(path) is None:
        name, group = path.rsplit("/", 1)[1], path.split("/")[4]
        return refusal(404, "ResourceNotFound", f"The Resource '{_ML}/{name}' under resource group '{group}' was not "
                       "found. For more details please go to https://aka.ms/ARMResourceNotFoundFix")  # fmt: skip
    if call.host == ARM_HOST and (rest.startswith("/datastores") or rest in ("/listkeys", "/liststorageaccountkeys")):
        return _storage(cloud, call, workspace=path, rest=rest)
    return None


def _discovery(host: str) -> Body:
    base = f"https://{host}"
    names = (
        "api", "experimentation", "history", "hyperdrive", "labeling", "modelmanagement", "pipelines", "compute",
        "notebooks", "inferencing",
    )  # fmt: skip
    fixed = {"studio": "https://ml.azure.com", "catalog": "https://catalog.cortanaanalytics.com"}
    return dict.fromkeys(names, base) | fixed


def _workspace(cloud: Cloud, call: Call) -> Response | None:
    found = cloud.get(call.path)
    match call.method:
        case "PUT":
            if refused := no_group(cloud, call):
                return refused
            location = str(call.body.get("location") or cloud.settings.region)
            made = _make(
                cloud, call.path, location=location, kind=str(call.body.get("kind") or "Default"),
                properties={**((found or {}).get("properties") or {}), **(call.body.get("properties") or {})},
                tags=call.body.get("tags"),
            )  # fmt: skip
            return ok(made, 200 if found else 201)
        case _ if found is None:
            return Response(status_code=204) if call.method == "DELETE" else missing(call)
        case "GET":
            return ok(found)
        case "PATCH":
            rest = {name: value for name, value in call.body.items() if name != "properties"}
            return ok(cloud.put(call.path, found | rest, **(call.body.get("properties") or {})))
        case "DELETE":
            return accepted(call, cloud.begin(call.path, remove=True), None, status=202)
        case _:
            return None


def _make(
    cloud: Cloud, path: str, *, location: str, kind: str, properties: Body, tags: Body | None = None
) -> Body:  # fmt: skip
    """Make or update a workspace; a new one gets its datastores."""
    before = cloud.get(path)
    hub = cloud.get(str(properties.get("hubResourceId") or ""))
    if hub:
        shared = ("storageAccount", "keyVault", "applicationInsights", "containerRegistry")
        properties = properties | {name: hub["properties"].get(name) for name in shared}
    body: Body = {
        "location": location, "tags": tags or {}, "kind": _KINDS.get(kind.lower(), "Default"),
        "identity": {"type": "SystemAssigned", "principalId": OBJECT_ID, "tenantId": TENANT},
        "sku": {"name": "Basic", "tier": "Basic"}, "etag": None, "properties": properties,
    }  # fmt: skip
    host = f"{location.replace(' ', '').lower()}.api.azureml.ms"
    made = cloud.put(
        path, body, provisioningState="Succeeded", workspaceId=str(uuid.uuid5(uuid.NAMESPACE_URL, path.lower())),
        tenantId=TENANT, discoveryUrl=f"https://{host}/discovery", mlFlowTrackingUri=f"azureml://{host}/mlflow/v1.0{path}",
        publicNetworkAccess=properties.get("publicNetworkAccess") or "Enabled", hbiWorkspace=False,
    )  # fmt: skip
    if before is None:
        _make_datastores(cloud, path, storage=str(properties.get("storageAccount") or ""))
        if hub:
            projects = [*(hub["properties"].get("associatedWorkspaces") or []), path]
            cloud.change(hub["id"], associatedWorkspaces=projects)
    return made


def _make_datastores(cloud: Cloud, workspace: str, *, storage: str) -> None:
    parts = workspace.split("/")
    account = storage.rstrip("/").rsplit("/", 1)[-1] or "phirunnerstorage"
    for name, container in _DATASTORES.items():
        cloud.blobs.make_container(container)
        cloud.put(f"{workspace}/datastores/{name}", {"properties": {
            "datastoreType": "AzureBlob", "accountName": cloud.blobs.account_for(account), "containerName": container,
            "endpoint": "core.windows.net", "protocol": "https", "isDefault": name == "workspaceblobstore",
            "credentials": {"credentialsType": "AccountKey"}, "serviceDataAccessAuthIdentity": "None",
            "subscriptionId": parts[2], "resourceGroup": parts[4], "description": None, "tags": {}, "properties": {},
        }})  # fmt: skip


def _storage(cloud: Cloud, call: Call, *, workspace: str, rest: str) -> Response | None:
    if rest in ("/listkeys", "/liststorageaccountkeys"):
        found = cloud.get(workspace) or {"properties": {}}
        return ok({"userStorageKey": cloud.blobs.key, "userStorageArmId": found["properties"].get("storageAccount")})
    if rest == "/datastores":
        everything = cloud.children(call.path)
        only = call.query.get("isDefault", "").lower() == "true"
        return ok({"value": [item for item in everything if item["properties"]["isDefault"] or not only]})
    name = rest.split("/")[2]
    store = cloud.get(f"{workspace}/datastores/{name}")
    if store is None:
        return error(404, "UserError", f"Could not find datastore: {name}.")
    secrets = cloud.private("/mode").get("secrets", "sas")
    if rest.endswith("/listsecrets") and call.method == "POST":
        if secrets == "key":
            return ok({"secretsType": "AccountKey", "key": cloud.blobs.key})
        return ok({"secretsType": "Sas", "sasToken": cloud.blobs.account_sas(store["properties"]["accountName"])})
    if secrets == "none":
        store["properties"]["credentials"] = {"credentialsType": "None"}
    return ok(store) if call.method == "GET" else None


def _deployment(cloud: Cloud, call: Call) -> Response | None:
    """Make what a template deployment asks for: its parameters are read, the template is not evaluated."""
    if call.low.endswith("/operations"):
        return ok({"value": []})
    found = cloud.get(call.path)
    if call.method == "GET":
        return ok(found) if found else refusal(404, "DeploymentNotFound", f"Deployment '{call.path}' was not found.")
    if call.method != "PUT":
        return None
    if refused := no_group(cloud, call):
        return refused
    group = "/".join(call.path.split("/")[:5])
    given = (call.body.get("properties") or {}).get("parameters") or {}
    parameters = {name: item.get("value") for name, item in given.items()}
    if not parameters.get("workspaceName"):
        return refusal(400, "InvalidTemplate", "Only templates that make a workspace are emulated.")
    made = cloud.put(
        call.path, {"properties": {"mode": "Incremental"}}, provisioningState="Accepted", timestamp=now(),
        correlationId=str(uuid.uuid4()), duration="PT0S",
    )  # fmt: skip
    done = {"provisioningState": "Succeeded", "duration": "PT5.5S", "timestamp": now()}
    operation = cloud.begin(call.path, set_properties=done, work=lambda: _deploy(cloud, group, parameters))
    return accepted(call, operation, made)


def _deploy(cloud: Cloud, group: str, parameters: dict[str, Any]) -> None:
    location = str(parameters.get("location") or cloud.settings.region)
    project = parameters.get("workspace_hub")
    properties: Body = {
        "friendlyName": parameters.get("friendlyName"), "description": parameters.get("description"),
        "publicNetworkAccess": parameters.get("publicNetworkAccess") or "Enabled",
    }  # fmt: skip
    for name, stem, kind in _PARTS if not project else ():
        option, service = parameters.get(f"{stem}Option"), parameters.get(f"{stem}Name")
        if option == "none" or not service:
            properties[name] = None
            continue
        owner = group
        if other := parameters.get(f"{stem}ResourceGroupName"):
            owner = f"{group.rsplit('/', 1)[0]}/{other}"
        properties[name] = f"{owner}/providers/{kind}/{service}"
        if cloud.get(properties[name]) is None:
            cloud.put(properties[name], {"location": location}, provisioningState="Succeeded")
    if project:
        properties["hubResourceId"] = project
    _make(
        cloud, f"{group}/providers/{_ML}/{parameters['workspaceName']}", location=location,
        kind=str(parameters.get("kind") or "Default"), properties=properties, tags=parameters.get("tagValues"),
    )  # fmt: skip
