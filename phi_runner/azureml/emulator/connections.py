"""A workspace's connections: what they point to is shown, their credentials only to who asks for the secrets."""

import re
from typing import Any

from starlette.responses import Response

from phi_runner.azureml.emulator.answers import ARM_HOST, error, ok
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud

_PATH = re.compile(
    r"(.+/providers/microsoft\.machinelearningservices/workspaces/[^/]+)/connections(?:/([^/]+))?(/listsecrets)?"
)
_DEFAULTS: Body = {"isSharedToAll": False, "sharedUserList": [], "metadata": {}, "expiryTime": None, "error": None}


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer for connections."""
    found = _PATH.fullmatch(call.low.rstrip("/"))
    if call.host != ARM_HOST or not found:
        return None
    workspace, name, secrets = found.groups()
    if not name:
        return ok({"value": _visible(cloud, workspace)}) if call.method == "GET" else None
    if secrets:
        return _secrets(cloud, workspace, name) if call.method == "POST" else None
    if call.method == "PUT":
        return _put(cloud, call)
    where = _where(cloud, workspace, name)
    if call.method == "DELETE":
        return Response(status_code=200 if cloud.remove(call.path) else 204)
    if where is None:
        return _missing(name)
    if call.method == "PATCH":
        return _patch(cloud, call)
    return ok(cloud.get(where) or {}) if call.method == "GET" else None


def _put(cloud: Cloud, call: Call) -> Response:
    properties = dict(call.body.get("properties") or {})
    if not properties.get("category") or not properties.get("authType"):
        return error(400, "ValidationError", "A connection needs properties.category and properties.authType.")
    credentials = properties.pop("credentials", None)
    stored = cloud.put(call.path, {"properties": _DEFAULTS | {"group": _group(properties)} | properties})
    cloud.note(call.path, credentials=credentials)
    return ok(stored)


def _patch(cloud: Cloud, call: Call) -> Response:
    properties = dict(call.body.get("properties") or {})
    if (credentials := properties.pop("credentials", None)) is not None:
        cloud.note(call.path, credentials=credentials)
    return ok(cloud.change(call.path, **properties) or {})


def _secrets(cloud: Cloud, workspace: str, name: str) -> Response:
    where = _where(cloud, workspace, name)
    if where is None:
        return _missing(name)
    body = cloud.get(where) or {}
    credentials: Any = cloud.private(where).get("credentials")
    body["properties"] = {**body["properties"], "credentials": credentials}
    return ok(body)


def _where(cloud: Cloud, workspace: str, name: str) -> str | None:
    """Return the path of a connection that a workspace sees: its own, or one that its hub shares."""
    own = f"{workspace}/connections/{name}"
    if cloud.get(own):
        return own
    hub = _hub(cloud, workspace)
    shared = f"{hub}/connections/{name}"
    return shared if hub and cloud.get(shared) else None


def _visible(cloud: Cloud, workspace: str) -> list[Body]:
    own, hub = cloud.children(f"{workspace}/connections"), _hub(cloud, workspace)
    names = {item["name"].lower() for item in own}
    shared = cloud.children(f"{hub}/connections") if hub else []
    return own + [item for item in shared if item["name"].lower() not in names]


def _hub(cloud: Cloud, workspace: str) -> str:
    found = cloud.get(workspace) or {"properties": {}}
    return str(found["properties"].get("hubResourceId") or "").lower()


def _group(properties: Body) -> str:
    return "GenericProtocol" if properties["category"] in ("CustomKeys", "ApiKey") else "AzureAI"


def _missing(name: str) -> Response:
    return error(404, "UserError", f"Connection {name} can't be found in this workspace")
