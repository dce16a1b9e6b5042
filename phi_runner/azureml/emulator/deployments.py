"""Deployments of online endpoints: checked, brought up as a container that really serves, and their logs."""

import re
from functools import partial

from starlette.responses import Response

from phi_runner.azureml.emulator import compute, container, endpoints, places
from phi_runner.azureml.emulator.answers import accepted, error, ok
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud
from phi_runner.azureml.emulator.container import ContainerFailed
from phi_runner.azureml.emulator.places import Inside

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]")
_REQUESTS = {"requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 1, "maxQueueWait": "PT0.5S"}
"""The service's defaults."""
_PROBE = {"initialDelay": "PT10S", "period": "PT10S", "timeout": "PT2S", "failureThreshold": 30, "successThreshold": 1}
_STEPS = ("SystemSetup", "UserContainerImagePull", "ModelDownload", "UserContainerStart")


def resume(cloud: Cloud) -> None:
    """Start the containers that an earlier emulator had, and go on with the deployments that it was bringing up."""
    container.of(cloud)
    for path in cloud.paths():
        if "/onlineendpoints/" in path and "/deployments/" in path:
            cloud.take_up(path, partial(_bring_up, cloud, path))


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer requests for deployments."""
    running = container.of(cloud)
    point = places.inside(call, "onlineendpoints")
    if point is None or len(point.parts) < 3 or point.parts[2].lower() != "deployments":
        return None
    if missing := places.absent(cloud, point):
        return missing
    endpoint = cloud.get(f"{point.workspace}/onlineEndpoints/{point.parts[1]}")
    if endpoint is None:
        return endpoints.absent(point)
    if len(point.parts) == 3:
        return places.listing(call, cloud.children(call.path))
    deployment = cloud.get(f"{endpoint['id']}/deployments/{point.parts[3]}")
    if call.method == "PUT":
        return _put(cloud, call, point, before=deployment)
    if deployment is None:
        if call.method == "DELETE":
            return Response(status_code=204)
        return error(404, "ResourceNotFound", f"Deployment {point.parts[3]} of {point.parts[1]} was not found.")
    if point.last == "getlogs":
        return ok({"content": _logs(running, deployment, call.body)})
    return _act(cloud, call, endpoint=endpoint, deployment=deployment)


def _act(cloud: Cloud, call: Call, *, endpoint: Body, deployment: Body) -> Response:
    match call.method:
        case "DELETE":
            return _delete(cloud, call, endpoint=endpoint, deployment=deployment)
        case "PATCH":
            changed = {key: call.body[key] for key in ("tags", "sku") if call.body.get(key)}
            cloud.put(deployment["id"], deployment | changed)
            return accepted(call, cloud.begin(deployment["id"]), None, status=202)
    return ok(deployment)


def _put(cloud: Cloud, call: Call, point: Inside, *, before: Body | None) -> Response:
    if before and (refusal := endpoints.busy(before)):
        return refusal
    asked = call.body.get("properties") or {}
    if refusal := _refusal(cloud, asked, name=point.parts[3]):
        return refusal
    path = before["id"] if before else call.path.rstrip("/")
    body = {key: call.body[key] for key in ("location", "sku", "tags", "identity") if call.body.get(key)}
    body = {"sku": {"name": "Default", "capacity": 1}, "tags": {}, "kind": "Managed"} | body
    shown = {key: value for key, value in asked.items() if value is not None}
    shown["endpointComputeType"] = "Managed"
    shown["scaleSettings"] = shown.get("scaleSettings") or {"scaleType": "Default"}
    shown["requestSettings"] = _REQUESTS | (shown.get("requestSettings") or {})
    for probe in ("livenessProbe", "readinessProbe"):
        shown[probe] = _PROBE | (shown.get(probe) or {})
    shown["environmentVariables"] = shown.get("environmentVariables") or {}
    state = "Updating" if before else "Creating"
    stored = cloud.put(path, body | {"properties": shown}, provisioningState=state)
    done = {"provisioningState": "Succeeded"}
    if short := _out_of_quota(cloud, stored):
        operation = cloud.begin(path, error=short)
    else:
        operation = cloud.begin(path, set_properties=done, work=partial(_bring_up, cloud, path))
    system = {"AzureAsyncOperationUri": accepted(call, operation, None).headers["Azure-AsyncOperation"]}
    stored = cloud.change(path, properties=(shown.get("properties") or {}) | system) or stored
    return accepted(call, operation, stored, status=200 if before else 201)


def _refusal(cloud: Cloud, asked: Body, *, name: str) -> Response | None:
    if not _NAME.fullmatch(name):
        return error(400, "BadArgument", f"Deployment name {name} is invalid.")
    size = str(asked.get("instanceType") or "")
    if compute.size(size) is None:
        return endpoints.refused("BadRequest", f"The instance type {size} is not supported for managed endpoints.")
    code = (asked.get("codeConfiguration") or {}).get("codeId")
    for what, asset in (("model", asked.get("model")), ("environment", asked.get("environmentId")), ("code", code)):
        if asset and str(asset).startswith("/") and cloud.get(str(asset)) is None:
            parts = str(asset).split("/")
            return endpoints.refused("BadRequest", f"The {what} {parts[-3]}:{parts[-1]} was not found.")
    if not code and not asked.get("model"):
        return endpoints.refused("BadRequest", "A deployment needs a model, or a code configuration.")
    return None


def _out_of_quota(cloud: Cloud, deployment: Body) -> Body | None:
    """Return the error of a deployment that its size's family has no cores for; the service gives it no code."""
    size = compute.size(str(deployment["properties"].get("instanceType") or ""))
    if size is None:
        return None
    needed = size.cores * int((deployment.get("sku") or {}).get("capacity") or 1)
    used = compute.in_use(cloud, size.family, without=deployment["id"])
    limit = compute.limit(cloud, size.family)
    if used + needed <= limit:
        return None
    return {
        "message": "OutOfQuota: Not enough cluster CPU quota. The amount of additional CPU quota requested is "
        f"{needed}, and you are currently using {used}. Your amount of maximum quota is {limit}. Please see "
        "troubleshooting guide, available here: https://aka.ms/oe-tsg#error-outofquota"
    }


def _bring_up(cloud: Cloud, path: str) -> Body | None:
    """Start the container; return the operation's error when it does not come up."""
    try:
        container.of(cloud).start(path)
    except ContainerFailed as failure:
        return {"code": failure.code, "message": str(failure), "details": []}
    if cloud.get(path) is None:  # the endpoint was deleted meanwhile
        container.of(cloud).stop(path)
    return None


def _logs(running: container.Containers, deployment: Body, asked: Body) -> str:
    storage = str(asked.get("containerType") or "").lower() == "storageinitializer"
    lines = running.log(deployment["id"], storage=storage).splitlines()
    tail = "\n".join(lines[-int(asked.get("tail") or 100) :])
    if storage:
        return f"{tail}\n"
    failed = deployment["properties"].get("provisioningState") == "Failed"
    states = [f"{step}: {'Failed' if failed and step == _STEPS[-1] else 'Succeeded'}" for step in _STEPS]
    return "\n".join(["Instance status:", *states, "", "Container logs:", tail, ""])


def _delete(cloud: Cloud, call: Call, *, endpoint: Body, deployment: Body) -> Response:
    traffic = endpoint["properties"].get("traffic") or {}
    if any(share and name.lower() == deployment["name"].lower() for name, share in traffic.items()):
        return endpoints.refused(
            "BadRequest", f"Deployment {deployment['name']} has traffic: set it to 0 before it is deleted."
        )
    if refusal := endpoints.busy(deployment):
        return refusal
    cloud.change(deployment["id"], provisioningState="Deleting")

    def stop() -> None:
        container.of(cloud).stop(deployment["id"])

    return accepted(call, cloud.begin(deployment["id"], remove=True, work=stop), None, status=202)
