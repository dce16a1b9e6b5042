"""Run history: how far a job is, where its logs are, what runs below it."""

import re

from starlette.responses import Response

from phi_runner.azureml.emulator.answers import error, ok
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud
from phi_runner.azureml.emulator.job_files import artifacts_of
from phi_runner.azureml.emulator.places import ARTIFACTS

_RUN = re.compile(
    r"/history/v1\.0(/subscriptions/.+?/workspaces/[^/]+)(?:/experiment(?:s|ids)/[^/]+)?/runs/([^/]+)(/[a-z]+)?",
    re.IGNORECASE,
)
_RUN_DATA = re.compile(r"/history/v1\.0(/subscriptions/.+?/workspaces/[^/]+)/rundata", re.IGNORECASE)
_MUTABLE = ("tags", "description", "displayName")


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer requests to the run history service."""
    if found := _RUN_DATA.fullmatch(call.path):
        return _run_data(cloud, workspace=found[1], run=str(call.body.get("runId")))
    found = _RUN.fullmatch(call.path)
    if not found:
        return None
    path = f"{found[1]}/jobs/{found[2]}"
    job = cloud.get(path)
    if job is None:
        return _unknown(found[2])
    match (found[3] or "").lower():
        case "/details":
            return ok(_details(cloud, job))
        case "/children":
            children = [item for item in cloud.children(f"{found[1]}/jobs") if _parent(cloud, item) == path.lower()]
            return ok({"value": [_run(cloud, item) for item in children], "continuationToken": None})
        case "":
            return _read_or_change(cloud, call, job)
    return None


def _parent(cloud: Cloud, job: Body) -> str:
    return str(cloud.private(job["id"]).get("parent", "")).lower()


def _unknown(run: str) -> Response:
    return error(404, "UserError", f"Run {run} was not found")


def _read_or_change(cloud: Cloud, call: Call, job: Body) -> Response:
    if call.method in ("PATCH", "PUT", "POST"):
        given = {name: call.body[name] for name in _MUTABLE if call.body.get(name) is not None}
        if "hidden" in call.body:
            given["isArchived"] = bool(call.body["hidden"])
        if "tags" in given:
            given["tags"] = (job["properties"].get("tags") or {}) | given["tags"]
        job = cloud.change(job["id"], **given) or job
    return ok(_run(cloud, job))


def _run(cloud: Cloud, job: Body) -> Body:
    properties, facts = job["properties"], cloud.private(job["id"])
    parent = facts.get("parent", "")
    return {
        "runId": job["name"],
        "parentRunId": parent.rsplit("/", 1)[1] if parent else None,
        "rootRunId": parent.rsplit("/", 1)[1] if parent else job["name"],
        "experimentId": properties["experimentName"],
        "status": properties["status"],
        "displayName": properties["displayName"],
        "name": properties["displayName"],
        "startTimeUtc": facts.get("started"),
        "endTimeUtc": facts.get("ended"),
        "createdUtc": job["systemData"]["createdAt"],
        "error": facts.get("error"),
        "tags": properties["tags"],
        "properties": properties["properties"],
        "runType": {"Sweep": "hyperdrive", "FineTuning": "finetuning"}.get(properties["jobType"], "azureml.commandrun"),
        "hidden": bool(properties.get("isArchived")),
        "inputs": {},
        "outputs": {},
    }


def _details(cloud: Cloud, job: Body) -> Body:
    base = f"{artifacts_of(job['name'])}/"
    names = cloud.blobs.names(ARTIFACTS, f"{base}user_logs/")
    compute = str(job["properties"].get("computeId") or "")
    return {
        "runId": job["name"],
        "target": compute.rsplit("/", 1)[-1] or None,
        "status": job["properties"]["status"],
        "startTimeUtc": cloud.private(job["id"]).get("started"),
        "endTimeUtc": cloud.private(job["id"]).get("ended"),
        "error": cloud.private(job["id"]).get("error"),
        "warnings": [],
        "properties": job["properties"]["properties"],
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": {},
        "logFiles": {name.removeprefix(base): cloud.blobs.sas_url(ARTIFACTS, name, "r") for name in names},
        "submittedBy": "emulator",
    }


def _run_data(cloud: Cloud, *, workspace: str, run: str) -> Response:
    job = cloud.get(f"{workspace}/jobs/{run}")
    return ok({"runMetadata": _run(cloud, job), "runDefinition": {}, "jobSpecification": {}}) if job else _unknown(run)
