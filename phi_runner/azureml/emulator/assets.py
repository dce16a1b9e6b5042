"""Versioned assets of a workspace: code, environments, models and data."""

import json
import uuid
from typing import Any

from starlette.responses import Response

from phi_runner.azureml.emulator import places
from phi_runner.azureml.emulator.answers import error, ok
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud
from phi_runner.azureml.emulator.places import Inside

_KINDS = {"codes": "codeUri", "environments": "", "models": "modelUri", "data": "dataUri"}
"""Each kind with the property that says where its bytes are."""
_MUTABLE = {"tags", "description", "isArchived", "properties", "stage"}
_REASONS = {400: "BadArgument", 404: "NotFound", 409: "Conflict"}


class _Refused(Exception):
    """An asset that the workspace does not take."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer requests for assets."""
    point = places.inside(call, *_KINDS)
    if point is None:
        return None
    if missing := places.absent(cloud, point):
        return missing
    if point.last == "startpendingupload":
        return _pending_upload(cloud, point)
    try:
        return _answer(cloud, call, point)
    except _Refused as refusal:
        inner = {"type": "InnerError", "info": {"value": {"code": _REASONS[refusal.status], "innerError": None}}}
        return error(refusal.status, "UserError", str(refusal), more=[inner])


def _answer(cloud: Cloud, call: Call, point: Inside) -> Response:
    if call.method == "GET" and len(point.parts) % 2:
        return _list(cloud, call, point)
    if call.method == "GET":
        found = cloud.get(call.path)
        if found is None:
            raise _Refused(404, f"{_label(point)} was not found in workspace {point.workspace.rsplit('/', 1)[1]}.")
        return ok(found)
    if call.method == "DELETE":
        return Response(status_code=200 if cloud.remove(call.path) else 204)
    if call.method == "PATCH":
        if cloud.change(call.path, **_mutable(call.body)) is None:
            raise _Refused(404, f"{_label(point)} was not found.")
        return ok(cloud.get(call.path) or {})
    if call.method == "PUT" and len(point.parts) == 2:
        return ok(cloud.put(call.path, (cloud.get(call.path) or {}) | call.body))
    return _put(cloud, call, point)


def _label(point: Inside) -> str:
    version = f", version {point.parts[3]}" if len(point.parts) > 3 else ""
    return f"{point.parts[0].removesuffix('s').capitalize()} {point.parts[1]}{version}"


def _list(cloud: Cloud, call: Call, point: Inside) -> Response:
    if point.kind == "codes" and "hash" in call.query:  # the look-up spans every code of the workspace
        found = [
            version
            for code in cloud.children(f"{point.workspace}/codes")
            for version in cloud.children(f"{code['id']}/versions")
            if version["properties"].get("properties", {}).get("hash_sha256") == call.query["hash"]
        ]
        return ok({"value": found})
    return places.listing(call, cloud.children(call.path))


def _pending_upload(cloud: Cloud, point: Inside) -> Response:
    """Answer with a container of its own: two codes never share one."""
    container = f"{point.workspace.split('/')[2][:8]}-{uuid.uuid4()}"
    cloud.blobs.make_container(container)
    signed = cloud.blobs.sas_url(container, None, "rcwdl")
    workspace = cloud.get(point.workspace) or {}
    reference = {
        "blobUri": signed.partition("?")[0].rstrip("/"),
        "storageAccountArmId": workspace.get("properties", {}).get("storageAccount"),
        "credential": {"credentialType": "SAS", "sasUri": signed},
    }
    kind = "TemporaryBlobReference"
    return ok({"pendingUploadId": None, "pendingUploadType": kind, "blobReferenceForConsumption": reference})


def _mutable(body: Body) -> Body:
    return {name: value for name, value in body.get("properties", {}).items() if name in _MUTABLE}


def _put(cloud: Cloud, call: Call, point: Inside) -> Response:
    with cloud.lock:
        before = cloud.get(call.path)
        body, added = _resolved(cloud, call, point)
        if before is None:
            stored = cloud.put(call.path, body, **added)
            cloud.note(call.path, definition=_definition(call.body))
            _count(cloud, call.path.rsplit("/versions/", 1)[0])
            return ok(stored, 201)
        _check_same(cloud, call, point, before=before, added=added)
        cloud.change(call.path, **_mutable(call.body))
        return ok(cloud.get(call.path) or {})


def _definition(body: Body) -> str:
    kept = {name: value for name, value in body.get("properties", {}).items() if name not in _MUTABLE}
    return json.dumps(kept, sort_keys=True)


def _check_same(cloud: Cloud, call: Call, point: Inside, *, before: Body, added: Body) -> None:
    """Refuse another definition under a version that is taken."""
    where = _KINDS[point.kind]
    if where:
        asked = added.get(where) or call.body.get("properties", {}).get(where)
        same = asked in (None, before["properties"].get(where))
    else:
        asked = json.loads(_definition(call.body))
        kept = json.loads(cloud.private(call.path).get("definition", "{}"))
        same = all(kept.get(name) == value for name, value in asked.items() if value is not None)
    if not same:
        raise _Refused(409, f"{_label(point)} already exists with another definition; a version cannot be changed.")


def _resolved(cloud: Cloud, call: Call, point: Inside) -> tuple[Body, Body]:
    """Return the body to store and the properties that the service adds; raises _Refused."""
    body = {name: value for name, value in call.body.items() if name in ("properties", "tags")}
    properties = body.get("properties") or {}
    basics = {"isAnonymous": False, "isArchived": False, "properties": {}, "tags": {}}
    added: Body = {name: value for name, value in basics.items() if properties.get(name) is None}
    added["provisioningState"] = "Succeeded"
    match point.kind:
        case "environments":
            added |= {"environmentType": "UserCreated", "osType": properties.get("osType") or "Linux"}
        case "models":
            added |= _model(cloud, point, properties)
        case "data":
            added["dataUri"] = _long(cloud, point, str(properties.get("dataUri", "")))[0]
    return body, added


def _long(cloud: Cloud, point: Inside, uri: str) -> tuple[str, str]:
    """Return the long form of a URI and the job that it is an output of."""
    if found := places.output_of_job(point.workspace, uri):
        if cloud.get(f"{point.workspace}/jobs/{found[0]}") is None:
            raise _Refused(404, f"Job {found[0]} was not found in workspace {point.workspace.rsplit('/', 1)[1]}.")
        return found[1], found[0]
    if uri.startswith("azureml://datastores/"):
        datastore, _, path = uri.removeprefix("azureml://datastores/").partition("/paths/")
        return places.long_uri(point.workspace, datastore, path), ""
    return uri, ""


def _model(cloud: Cloud, point: Inside, properties: Body) -> Body:
    asked = str(properties.get("modelUri", ""))
    if asked.startswith("azureml://registries/"):
        return {"flavors": properties.get("flavors") or {}}
    uri, job = _long(cloud, point, asked)
    uri = uri.rstrip("/")
    place = places.locate(cloud, workspace=point.workspace, uri=uri)
    if place is None or not places.exists(cloud, place):
        origin = f"the outputs of job {job}" if job else "the workspace's storage"
        raise _Refused(400, f"The specified path {asked} does not exist in {origin}.")
    mlflow = "mlflow" in str(properties.get("modelType", "")).lower()
    flavors = _flavors(cloud, place, asked) if mlflow else {}
    return {"modelUri": uri, "flavors": flavors} | ({"jobName": job} if job else {})


def _flavors(cloud: Cloud, place: places.Place, asked: str) -> Body:
    """Return the flavours that the model's own MLmodel file lists."""
    import yaml

    name = f"{place.path}/MLmodel".lstrip("/")
    if name not in cloud.blobs.names(place.container, name):
        raise _Refused(400, f"{asked} is no MLflow model: it holds no file MLmodel.")
    described: Any = yaml.safe_load(cloud.blobs.read(place.container, name)) or {}
    flavors = described.get("flavors") or {}
    return {
        flavor: {"data": {str(key): _text(value) for key, value in (settings or {}).items()}}
        for flavor, settings in flavors.items()
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _count(cloud: Cloud, container: str) -> None:
    """Keep the latest and the next version at the asset's container, as version numbers are given out."""
    names = [version["name"] for version in cloud.children(f"{container}/versions")]
    numbers = [int(name) for name in names if name.isdigit()]
    counted = {"latestVersion": names[-1], "nextVersion": str(max(numbers, default=0) + 1)}
    if cloud.change(container, **counted) is None:
        cloud.put(container, {"properties": {"isArchived": False, "tags": {}, "properties": {}}}, **counted)


def register_model(cloud: Cloud, *, workspace: str, name: str, uri: str, job: str) -> str:
    """Register a job's output as the next version of a model, as a fine-tuning job does itself; return the version."""
    with cloud.lock:
        container = cloud.get(f"{workspace}/models/{name}") or {}
        version = container.get("properties", {}).get("nextVersion", "1")
        path = f"{workspace}/models/{name}/versions/{version}"
        place = places.locate(cloud, workspace=workspace, uri=uri)
        flavors = _flavors(cloud, place, uri) if place else {}
        properties = {"modelType": "mlflow_model", "modelUri": uri, "jobName": job, "isArchived": False, "tags": {}}
        cloud.put(path, {"properties": properties}, flavors=flavors, isAnonymous=False, properties={})
        _count(cloud, f"{workspace}/models/{name}")
        return str(version)
