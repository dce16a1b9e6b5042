"""The public registry `azureml`: its discovery, and whatever model, component or environment is asked for by name."""

import re
import uuid

from starlette.responses import Response

from phi_runner.azureml.emulator.answers import error, ok
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud, now

_DISCOVERY = re.compile(r"/registrymanagement/v1\.0/registries/([^/]+)(?:/discovery)?")
_ASSET = re.compile(
    r"(?:/mferp/managementfrontend)?(/subscriptions/[^/]+/resourcegroups/[^/]+/providers/"
    r"microsoft\.machinelearningservices/registries/[^/]+)/(models|components|environments)/([^/]+)"
    r"(?:/(versions|labels)(?:/([^/]+))?)?",
    re.IGNORECASE,
)
_LATEST = "7"
_SUBSCRIPTION = "44444444-4444-4444-4444-444444444444"
_GROUP = "registry-builtin-prod-rg"
_INPUTS = {
    "mlflow_model_path": "mlflow_model", "train_file_path": "uri_file", "validation_file_path": "uri_file",
    "compute_model_import": "string", "compute_preprocess": "string", "compute_finetune": "string",
    "compute_model_evaluation": "string", "num_train_epochs": "integer", "learning_rate": "number",
    "per_device_train_batch_size": "integer", "apply_lora": "string", "number_of_gpu_to_use_finetuning": "integer",
}  # fmt: skip
"""Of the chat-completion pipeline component."""


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer for registries: every asset that is asked for is there, in version 7."""
    del cloud
    if found := _DISCOVERY.fullmatch(call.low.rstrip("/")):
        return ok(_discovery(found[1], host=call.host))
    found = _ASSET.fullmatch(call.path.rstrip("/"))
    if not found:
        return None
    if call.method != "GET":
        return error(403, "AuthorizationFailed", "The registry is shared by everybody: it can only be read.")
    _, kind, name, by, version = found.groups()
    registry = found[1].rsplit("/", 1)[1]
    if by and not version:
        return ok({"value": [_asset(registry, kind.lower(), name, _LATEST)]})
    version = _LATEST if not version or version == "latest" else version
    return ok(_asset(registry, kind.lower(), name, version, container=not by))


def _discovery(name: str, *, host: str) -> Body:
    base = f"https://{host}/"
    return {
        "registryName": name, "resourceGroup": _GROUP, "subscriptionId": _SUBSCRIPTION, "primaryRegion": "eastus",
        "primaryRegionResourceProviderUri": base, "regions": ["eastus", "eastus2"],
        "managedResourceIdentifier": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "registryFqdns": {"eastus": {"uri": base}},
    }  # fmt: skip


def _asset(registry: str, kind: str, name: str, version: str, *, container: bool = False) -> Body:
    properties: Body = {
        "description": name, "tags": {}, "properties": {}, "isArchived": False, "isAnonymous": False,
        "latestVersion": version, "provisioningState": "Succeeded",
    }  # fmt: skip
    if not container:
        properties |= _facts(registry, kind, name, version)
    identity = f"azureml://registries/{registry}/{kind}/{name}"
    return {
        "id": identity if container else f"{identity}/versions/{version}",
        "name": name if container else version, "type": kind, "properties": properties,
        "systemData": {"createdAt": now(), "createdBy": "Microsoft", "createdByType": "User"},
    }  # fmt: skip


def _facts(registry: str, kind: str, name: str, version: str) -> Body:
    match kind:
        case "models":
            tasks = {"finetuning-tasks": "chat-completion, text-generation", "finetune-min-sku-spec": "24|1|220|64"}
            uri = f"azureml://registries/{registry}/models/{name}/versions/{version}"
            flavors: Body = {"python_function": {"data": {}}}
            return {"modelType": "mlflow_model", "modelUri": uri, "flavors": flavors, "properties": tasks}
        case "components":
            return {"componentSpec": _pipeline(name, version)}
        case _:
            return {"image": f"mcr.microsoft.com/azureml/curated/{name}:{version}", "osType": "Linux"}


def _pipeline(name: str, version: str) -> Body:
    return {
        "$schema": "https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json", "name": name,
        "version": version, "display_name": name, "type": "pipeline", "is_deterministic": "True",
        "inputs": {item: {"type": kind, "optional": "True"} for item, kind in _INPUTS.items()},
        "outputs": {"pytorch_model_folder": {"type": "uri_folder"}, "mlflow_model_folder": {"type": "mlflow_model"}},
    }  # fmt: skip
