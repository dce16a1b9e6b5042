"""Where a request points inside a workspace, and where an asset's URI points in the blob store."""

import re
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response

from phi_runner.azureml.emulator.answers import error, ok
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud

ARTIFACTS, BLOBS = "azureml", "azureml-blobstore-1"
"""Containers of the two datastores that every workspace has."""
_CONTAINERS = {"workspaceartifactstore": ARTIFACTS, "workspaceblobstore": BLOBS}
_WORKSPACE = re.compile(
    r"(/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.machinelearningservices/workspaces/[^/]+)/(.+)",
    re.IGNORECASE,
)
_DATASTORE = re.compile(r"/?datastores/([^/]+)/paths/(.*)", re.IGNORECASE)
_OF_JOB = re.compile(r"azureml://jobs/([^/]+)/outputs/([^/]+)(?:/paths/(.*))?")
_BLOB_URL = re.compile(r"https://[^/]+/([^/?]+)/?([^?]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """A request to something inside a workspace."""

    workspace: str
    """ARM path of the workspace, spelled as the client does."""
    parts: tuple[str, ...]
    """What follows it."""

    @property
    def kind(self) -> str:
        """The collection, in lower case."""
        return self.parts[0].lower()

    @property
    def last(self) -> str:
        """The last part in lower case: an action's name, when it is one."""
        return self.parts[-1].lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A file or folder in the blob store."""

    container: str
    path: str


def inside(call: Call, *kinds: str) -> Inside | None:
    """Return what the request points to when it is below one of these collections of a workspace."""
    found = _WORKSPACE.fullmatch(call.path.rstrip("/"))
    if not found:
        return None
    parts = tuple(found[2].split("/"))
    return Inside(workspace=found[1], parts=parts) if parts[0].lower() in kinds else None


def absent(cloud: Cloud, point: Inside) -> Response | None:
    """Return the error for a workspace that is not there."""
    if cloud.get(point.workspace):
        return None
    group, name = point.workspace.split("/")[4], point.workspace.rsplit("/", 1)[1]
    return error(
        404, "ResourceNotFound",
        f"The Resource 'Microsoft.MachineLearningServices/workspaces/{name}' under resource group '{group}' was not "
        "found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )  # fmt: skip


def listing(call: Call, found: list[Body]) -> Response:
    """Answer a collection: archived ones left out unless asked for, newest first and cut when asked to."""
    view = call.query.get("listViewType", "ActiveOnly").lower()
    if view != "all":
        wanted = view == "archivedonly"
        found = [item for item in found if bool(item["properties"].get("isArchived")) is wanted]
    if "desc" in call.query.get("$orderBy", "").lower():
        found = found[::-1]
    if top := call.query.get("$top", ""):
        found = found[: int(top)]
    return ok({"value": found})


def long_uri(workspace: str, datastore: str, path: str) -> str:
    """Return the form in which the service names a path in a datastore."""
    parts = workspace.split("/")
    return (
        f"azureml://subscriptions/{parts[2]}/resourceGroups/{parts[4]}/workspaces/{parts[8]}"
        f"/datastores/{datastore}/paths/{path}"
    )


def output_of_job(workspace: str, uri: str) -> tuple[str, str] | None:
    """Return the job and the long datastore URI behind `azureml://jobs/J/outputs/...`, None for other URIs."""
    found = _OF_JOB.fullmatch(uri)
    if not found:
        return None
    job, output, path = found[1], found[2], (found[3] or "").strip("/")
    if output == "artifacts":
        return job, long_uri(workspace, "workspaceartifactstore", f"ExperimentRun/dcid.{job}/{path}")
    return job, long_uri(workspace, "workspaceblobstore", f"azureml/{job}/{output}/{path}")


def locate(cloud: Cloud, *, workspace: str, uri: str) -> Place | None:
    """Return where a URI's bytes are; None when it names nothing that is there."""
    uri = uri.removeprefix("azureml:") if uri.startswith("azureml:/subscriptions") else uri
    if uri.startswith("/"):
        asset = (cloud.get(uri) or {}).get("properties", {})
        uri = asset.get("modelUri") or asset.get("dataUri") or asset.get("codeUri") or ""
    if job := output_of_job(workspace, uri):
        uri = job[1]
    if found := _DATASTORE.search(uri):
        stored = cloud.get(f"{workspace}/datastores/{found[1]}") or {}
        container = stored.get("properties", {}).get("containerName") or _CONTAINERS.get(found[1].lower())
        return Place(container=container, path=found[2].strip("/")) if container else None
    if found := _BLOB_URL.fullmatch(uri):
        return Place(container=found[1], path=found[2].strip("/"))
    return None


def exists(cloud: Cloud, place: Place) -> bool:
    """Say whether there is a blob of that name or below it."""
    names = cloud.blobs.names(place.container, place.path)
    return any(name == place.path or not place.path or name.startswith(f"{place.path}/") for name in names)


def fetch(cloud: Cloud, place: Place, folder: Path) -> Path | None:
    """Copy a file or a folder below `folder`; return what was made, None when nothing is there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not cloud.blobs.download(place.container, place.path, folder):
        return None
    single = place.path and place.path in cloud.blobs.names(place.container, place.path)
    return folder / place.path.rsplit("/", 1)[1] if single else folder
