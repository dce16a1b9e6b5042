"""The resource manager: operations, resource groups, identities, role assignments, and resources of any other kind.

Asked last: what no service claims is kept as a plain resource, or is not found.
"""

import re
import uuid

from starlette.responses import Response

from phi_runner.azureml.emulator.answers import ARM_HOST, accepted, ok
from phi_runner.azureml.emulator.cloud import TENANT, Body, Call, Cloud

_OPERATION = re.compile(r".*/(mfeoperationsstatus|operationstatuses|mfeoperationresults|operationresults)/([^/]+)")
_GROUP = re.compile(r"/subscriptions/[^/]+/resourcegroups/([^/]+)")
_ROLE = re.compile(r"(.*)/providers/microsoft\.authorization/roleassignments/([^/]+)")
_PAUSE_MS = "150"
_ML = "/providers/microsoft.machinelearningservices/"
_SEGMENTS_OF_TYPE = 2


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer for any resource of the subscription."""
    if call.host != ARM_HOST:
        return None
    low = call.low.rstrip("/")
    if not low.startswith("/subscriptions"):
        return refusal(404, "NotFound", f"{call.path} is not emulated.")
    if found := _OPERATION.fullmatch(low):
        return _operation(cloud, call, number=found[2], by_location=found[1].endswith("results"))
    if refused := _no_subscription(cloud, low):
        return refused
    if len(low.split("/")) <= 3:
        return _subscription(cloud, call)
    if found := _GROUP.fullmatch(low):
        return _group(cloud, call)
    if refused := no_group(cloud, call):
        return refused
    return _below(cloud, call)


def no_group(cloud: Cloud, call: Call) -> Response | None:
    """Return the 404 of a call below a resource group that is not there."""
    parts = call.path.split("/")
    if parts[3].lower() != "resourcegroups" or cloud.get("/".join(parts[:5])) is not None:
        return None
    return refusal(404, "ResourceGroupNotFound", f"Resource group '{parts[4]}' could not be found.")


def _below(cloud: Cloud, call: Call) -> Response:
    """Answer for what is in the subscription or in one of its groups."""
    low = call.low.rstrip("/")
    if re.fullmatch(r"/subscriptions/[^/]+/providers/[^/]+(/register)?", low):
        return _provider(call)
    if low.endswith("/checknameavailability"):
        return ok({"nameAvailable": True})
    if (found := _ROLE.fullmatch(low)) and call.method == "PUT":
        return _assign_role(cloud, call, scope=call.path[: len(found[1])])
    return _resource(cloud, call)


def refusal(status: int, code: str, message: str) -> Response:
    """Return an error as the resource manager words it: code and message alone."""
    return ok({"error": {"code": code, "message": message}}, status)


def missing(call: Call) -> Response:
    """Return the 404 of a resource that is not there."""
    parts = call.path.strip("/").split("/")
    group = parts[3] if len(parts) > 3 else ""
    kind = call.path.split("/providers/")[-1]
    return refusal(404, "ResourceNotFound", f"The Resource '{kind}' under resource group '{group}' was not found. For "
                   "more details please go to https://aka.ms/ARMResourceNotFoundFix")  # fmt: skip


def stranger(cloud: Cloud, call: Call) -> Response | None:
    """Return the refusal of a call to a subscription that the signed-in principal cannot see."""
    return _no_subscription(cloud, call.low) if call.host == ARM_HOST else None


def _no_subscription(cloud: Cloud, low: str) -> Response | None:
    parts = low.split("/")
    if parts[1:2] != ["subscriptions"] or len(parts) <= _SEGMENTS_OF_TYPE:
        return None
    if parts[2] == cloud.settings.subscription.lower():
        return None
    return refusal(404, "SubscriptionNotFound", f"The subscription '{parts[2]}' could not be found.")


def _subscription(cloud: Cloud, call: Call) -> Response:
    number = cloud.settings.subscription
    found = {
        "id": f"/subscriptions/{number}", "subscriptionId": number, "tenantId": TENANT, "state": "Enabled",
        "displayName": "Rehearsal", "subscriptionPolicies": {"quotaId": "PayAsYouGo_2014-09-01"},
    }  # fmt: skip
    if call.low.rstrip("/") == "/subscriptions":
        return ok({"value": [found]})
    return ok(found)


def _provider(call: Call) -> Response:
    name = call.path.removesuffix("/register").rsplit("/", 1)[1]
    identity = call.path.removesuffix("/register")
    return ok({"id": identity, "namespace": name, "registrationState": "Registered", "resourceTypes": []})


def _operation(cloud: Cloud, call: Call, *, number: str, by_location: bool) -> Response:
    found = cloud.operation(number)
    if found is None:
        return refusal(404, "NotFound", f"The operation '{number}' was not found.")
    status, operation = found
    if by_location:
        if status == "InProgress":
            query = "&".join(f"{name}={value}" for name, value in call.query.items())
            again = f"https://{call.host}{call.path}?{query}"
            return Response(status_code=202, headers={"Location": again, "retry-after-ms": _PAUSE_MS})
        return ok({"error": operation.error}, 400) if operation.error else Response(status_code=204)
    body: Body = {"id": call.path, "name": number, "status": status, "percentComplete": 50.0}
    if status != "InProgress":
        body["percentComplete"] = 100.0
    if operation.error:
        body["error"] = operation.error
    return ok(body, headers={"retry-after-ms": _PAUSE_MS})


def _group(cloud: Cloud, call: Call) -> Response:
    name, found = call.path.rstrip("/").rsplit("/", 1)[1], cloud.get(call.path)
    if call.method == "PUT":
        location = str(call.body.get("location") or "")
        if not location:
            return refusal(400, "LocationRequired", "The location property is required for this definition.")
        if found and found["location"] != location:
            return refusal(409, "InvalidResourceGroupLocation", f"Invalid resource group location '{location}'. The "
                           f"Resource group already exists in location '{found['location']}'.")  # fmt: skip
        body = {**call.body, "type": "Microsoft.Resources/resourceGroups"}
        return ok(cloud.put(call.path, body, provisioningState="Succeeded"), 200 if found else 201)
    if call.method == "HEAD":
        return Response(status_code=204 if found else 404)
    if found is None:
        return refusal(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
    if call.method == "DELETE":
        operation = cloud.begin(call.path, remove=True)
        where = f"https://{call.host}/subscriptions/{cloud.settings.subscription}/operationresults/{operation.id}"
        return accepted(call, operation, None, status=202, location=f"{where}?api-version=2022-09-01")
    return ok(found)


def _assign_role(cloud: Cloud, call: Call, *, scope: str) -> Response:
    wanted = call.body.get("properties") or {}
    triple = _triple(wanted)
    if not all(triple):
        return refusal(400, "BadRequestFormat", "The request was incorrectly formatted.")
    for other in cloud.children(f"{scope}/providers/Microsoft.Authorization/roleAssignments"):
        if other["id"].lower() == call.low:
            if _triple(other["properties"]) != triple:
                return refusal(400, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and "
                               "scope are not allowed to be updated.")  # fmt: skip
        elif _triple(other["properties"]) == triple:
            number = other["name"].replace("-", "")
            return refusal(409, "RoleAssignmentExists", "The role assignment already exists. The ID of the existing "
                           f"role assignment is {number}.")  # fmt: skip
    new = cloud.get(call.path) is None
    return ok(cloud.put(call.path, call.body, scope=scope), 201 if new else 200)


def _triple(properties: Body) -> tuple[str, str]:
    """Return who and which role; the scope is where it is kept."""
    role = str(properties.get("roleDefinitionId") or "").rsplit("/", 1)[-1].lower()
    return str(properties.get("principalId") or "").lower(), role


def _resource(cloud: Cloud, call: Call) -> Response:
    found = cloud.get(call.path)
    if call.method == "GET" and found is None and _is_collection(call.path):
        return ok({"value": _listed(cloud, call)})
    if call.method == "PUT":
        if _is_collection(call.path):
            return refusal(405, "MethodNotAllowed", f"PUT {call.path} names no resource.")
        made = cloud.put(call.path, call.body, **_given_by_service(call))
        return ok(made, 200 if found else 201)
    if call.method == "HEAD":
        return Response(status_code=204 if found else 404)
    if call.method == "DELETE":
        return Response(status_code=200 if cloud.remove(call.path) else 204)
    if found is None:
        return missing(call)
    if call.method == "PATCH":
        rest = {name: value for name, value in call.body.items() if name != "properties"}
        return ok(cloud.put(call.path, found | rest, **(call.body.get("properties") or {})))
    if call.method == "GET":
        return ok(found)
    return refusal(404, "NotFound", f"{call.method} {call.path} is not emulated.")


def _given_by_service(call: Call) -> Body:
    """Return the properties that the service itself gives a new resource."""
    low, name = call.low, call.path.rsplit("/", 1)[1].lower()
    if "/userassignedidentities/" in low:
        principal, client = uuid.uuid5(uuid.NAMESPACE_URL, low), uuid.uuid5(uuid.NAMESPACE_DNS, low)
        return {"principalId": str(principal), "clientId": str(client), "tenantId": TENANT}
    given: Body = {"provisioningState": "Succeeded"}
    if "/microsoft.containerregistry/registries/" in low:
        given |= {"loginServer": f"{name}.azurecr.io"}
    if "/microsoft.storage/storageaccounts/" in low:
        given |= {"primaryEndpoints": {"blob": f"https://{name}.blob.core.windows.net/"}}
    return given


def _is_collection(path: str) -> bool:
    """Say whether a path names a collection: `.../providers/NS/kind/name` and their like name one resource."""
    low = path.lower().rstrip("/")
    if "/providers/" in low:
        return len(low.rsplit("/providers/", 1)[1].split("/")) % 2 == 0
    return low.endswith(("/resourcegroups", "/resources"))


def _listed(cloud: Cloud, call: Call) -> list[Body]:
    low = call.low.rstrip("/")
    if low.endswith("/resourcegroups"):
        return cloud.children(low)
    group = low.split("/providers/")[0] if "/providers/" in low else low.removesuffix("/resources")
    kind = low.rsplit("/providers/", 1)[1] if "/providers/" in low else ""
    found = cloud.children(low)
    if not found and (not kind or len(kind.split("/")) == _SEGMENTS_OF_TYPE):
        found = [item for item in _anywhere(cloud, group) if not kind or item["type"].lower() == kind]
    if "roleassignments" in low and (wanted := re.search(r"principalId eq '([^']+)'", call.query.get("$filter", ""))):
        found = [item for item in found if item["properties"].get("principalId") == wanted[1]]
    return found


def _anywhere(cloud: Cloud, scope: str) -> list[Body]:
    """Return the resources of a group or a subscription, without their children and without role assignments."""
    found = []
    for path in cloud.paths():
        _, *kinds = path.split("/providers/")
        if path.startswith(f"{scope}/") and len(kinds) == 1 and kinds[0].count("/") == _SEGMENTS_OF_TYPE:
            found.append(cloud.get(path) or {})
    return [item for item in found if item and not item["type"].lower().startswith("microsoft.authorization/")]
