"""Managed online endpoints: their names, keys and traffic."""

import re
import time
from typing import Any

from starlette.responses import JSONResponse, Response

from phi_runner.azureml.emulator import container, places
from phi_runner.azureml.emulator.answers import accepted, error, ok
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud
from phi_runner.azureml.emulator.places import Inside

FACTS = "/endpoints"
"""Private path of what holds for all endpoints: names that others have (`taken`), for how many seconds the name of a
deleted one cannot be used again (`again_s`), the `seed` of the traffic's dice, and when which was deleted."""
BUSY = frozenset({"Creating", "Updating", "Deleting"})
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]")
_KEYS = {"Primary": "primaryKey", "Secondary": "secondaryKey"}


def find(cloud: Cloud, name: str) -> Body | None:
    """Return the endpoint of that name, whichever workspace it is in."""
    end = f"/onlineendpoints/{name.lower()}"
    return next((cloud.get(path) for path in cloud.paths() if path.endswith(end)), None)


def keys(cloud: Cloud, endpoint: Body) -> dict[str, str]:
    """Return the two keys of an endpoint."""
    return {field: cloud.secret(_secret(endpoint, kind)) for kind, field in _KEYS.items()}


def token(cloud: Cloud, endpoint: Body) -> str:
    """Return the token of an endpoint."""
    return cloud.secret(_secret(endpoint, "token"))


def _secret(endpoint: Body, kind: str) -> str:
    return f"{endpoint['id'].lower()}#{kind}"


def refused(code: str, message: str, *, status: int = 400) -> Response:
    """Answer as the front end does when the inference service behind it refuses."""
    details = [{"code": "InferencingClientCallFailed", "message": message, "details": [], "additionalInfo": []}]
    return error(status, code, "The request is invalid.", details=details)


def busy(body: Body) -> Response | None:
    """Return the refusal of a change to what another operation is changing."""
    if body["properties"].get("provisioningState") not in BUSY:
        return None
    message = f"An operation on {body['name']} is already in progress. Try again when it has ended."
    return error(409, "Conflict", message)


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer requests for endpoints; deployments below them are not this module's."""
    point = places.inside(call, "onlineendpoints")
    if point is None or (len(point.parts) > 2 and point.parts[2].lower() == "deployments"):
        return None
    if missing := places.absent(cloud, point):
        return missing
    if len(point.parts) == 1:
        return places.listing(call, cloud.children(call.path))
    endpoint = cloud.get(f"{point.workspace}/onlineEndpoints/{point.parts[1]}")
    if call.method == "PUT":
        return _put(cloud, call, point, endpoint)
    if endpoint is None:
        return Response(status_code=204) if call.method == "DELETE" else absent(point)
    if len(point.parts) == 3:
        return _act(cloud, call, endpoint, action=point.last)
    match call.method:
        case "DELETE":
            return _delete(cloud, call, endpoint)
        case "PATCH":
            return ok(cloud.put(endpoint["id"], endpoint | {"tags": call.body.get("tags") or endpoint.get("tags")}))
    return ok(endpoint)


def absent(point: Inside) -> Response:
    """Answer that there is no such endpoint."""
    return error(404, "ResourceNotFound", f"Online endpoint {point.parts[1]} was not found.")


def _act(cloud: Cloud, call: Call, endpoint: Body, *, action: str) -> Response | None:
    if action == "listkeys":
        return ok(keys(cloud, endpoint))
    if action == "token":
        until = int(time.time()) + 3600
        return ok(
            {
                "accessToken": token(cloud, endpoint),
                "expiryTimeUtc": until,
                "refreshAfterTimeUtc": until - 1800,
                "tokenType": "Bearer",
            }
        )
    if action == "regeneratekeys":
        kind = str(call.body.get("keyType", "")).capitalize()
        if kind not in _KEYS:
            return error(400, "BadArgument", f"keyType {kind} is neither Primary nor Secondary.")
        cloud.secret(_secret(endpoint, kind), renew=True)  # clients send the old key back: it is not taken
        return accepted(call, cloud.begin(endpoint["id"]), None, status=202)
    return None


def _put(cloud: Cloud, call: Call, point: Inside, before: Body | None) -> Response:
    name = point.parts[1]
    if before is None:
        if refusal := _name_refused(cloud, name):
            return refusal
    elif refusal := busy(before):
        return refusal
    asked: Body = {"authMode": "Key", **(call.body.get("properties") or {})}
    for field in ("traffic", "mirrorTraffic", "properties"):
        asked[field] = asked.get(field) or {}
    if refusal := _traffic_refused(cloud, call.path, asked["traffic"]):
        return refusal
    identity = _identity(cloud, call.body.get("identity"))
    if isinstance(identity, Response):
        return identity
    body: Body = {key: call.body[key] for key in ("location", "tags", "sku") if key in call.body}
    body |= {"identity": identity, "kind": "Managed", "tags": body.get("tags") or {}}
    return _store(cloud, call, body | {"properties": asked}, before=before)


def _store(cloud: Cloud, call: Call, body: Body, *, before: Body | None) -> Response:
    asked, name = body["properties"], call.path.rsplit("/", 1)[1]
    region = str(body.get("location") or cloud.settings.region).replace(" ", "").lower()
    host = f"https://{name}.{region}.inference.ml.azure.com"
    old = before["properties"] if before else {}
    keys_of_old = {key: old.get(key) for key in ("scoringUri", "swaggerUri")}
    shown = {key: value for key, value in asked.items() if key != "keys"} | keys_of_old
    shown["traffic"] = old.get("traffic", {})  # requests go the old way until the operation has ended
    shown["provisioningState"] = "Updating" if before else "Creating"
    done = {
        "provisioningState": "Succeeded",
        "traffic": asked["traffic"],
        "scoringUri": f"{host}/score",
        "swaggerUri": f"{host}/swagger.json",
    }
    cloud.put(call.path, body | {"properties": shown})
    operation = cloud.begin(call.path, set_properties=done)
    address = f"https://{call.host}{call.path}?api-version=2022-02-01-preview"
    answer = accepted(call, operation, None, location=address)
    system = {
        "azureml.onlineendpointid": call.path,
        "AzureAsyncOperationUri": answer.headers["Azure-AsyncOperation"],
    }
    stored = cloud.change(call.path, properties=asked["properties"] | system) or {}
    told = {key: value for key, value in answer.headers.items() if key != "content-length"}
    return JSONResponse(stored, 200 if before else 201, headers=told)


def _name_refused(cloud: Cloud, name: str) -> Response | None:
    if not _NAME.fullmatch(name):
        return error(
            400, "BadArgument", f"Endpoint name {name} is invalid: it must have 3 to 32 characters, start with a "
            "letter, and hold letters, digits and '-' only.",
        )  # fmt: skip
    facts = cloud.private(FACTS)
    if name.lower() in facts.get("taken", []) or find(cloud, name):
        said = "There is already an endpoint with this name, Endpoint name needs to be unique within a region. "
        return refused("BadRequest", '{"errors":{"":["' + said + 'Try some other name."]}}')
    deleted = facts.get("deleted", {}).get(name.lower(), 0)
    if time.time() - deleted < facts.get("again_s", 0):
        return refused("NotFound", '{"title":"Not Found","status":404}', status=404)
    return None


def _traffic_refused(cloud: Cloud, path: str, traffic: dict[str, Any]) -> Response | None:
    unknown = [name for name in traffic if cloud.get(f"{path}/deployments/{name}") is None]
    if unknown:
        return refused("BadRequest", f"Deployment {unknown[0]} referenced in traffic does not exist.")
    total = sum(int(value) for value in traffic.values())
    if total not in (0, 100) or min(traffic.values(), default=0) < 0:
        return refused("BadRequest", f"The traffic of all deployments must sum up to 0 or 100, not to {total}.")
    return None


def _identity(cloud: Cloud, asked: Body | None) -> Body | Response:
    """Return an endpoint's identity with the ids that the service knows of it."""
    if not asked or "user" not in str(asked.get("type", "")).lower():
        return {"type": "SystemAssigned", "principalId": "55555555-5555-5555-5555-555555555555"}
    known = {}
    for path in asked.get("userAssignedIdentities") or {}:
        found = cloud.get(path)
        if found is None:
            return refused("BadRequest", f"The user-assigned identity {path} does not exist.")
        known[path] = {key: found["properties"].get(key) for key in ("principalId", "clientId")}
    return {"type": asked["type"], "userAssignedIdentities": known}


def _delete(cloud: Cloud, call: Call, endpoint: Body) -> Response:
    path = endpoint["id"]
    if refusal := busy(endpoint):
        return refusal
    cloud.change(path, provisioningState="Deleting")
    with cloud.lock:
        deleted = cloud.private(FACTS).get("deleted", {}) | {endpoint["name"].lower(): time.time()}
        cloud.note(FACTS, deleted=deleted)

    def stop() -> None:
        for deployment in cloud.children(f"{path}/deployments"):
            container.of(cloud).stop(deployment["id"])

    for kind in (*_KEYS, "token"):  # an endpoint of the same name gets other keys
        cloud.secret(_secret(endpoint, kind), renew=True)
    return accepted(call, cloud.begin(path, remove=True, work=stop), None, status=202)
