"""Jobs of a workspace: submitted, listed, cancelled. A name is submitted once, whatever is put to it later."""

from typing import Any

from starlette.responses import Response

from phi_runner.azureml.emulator import executions, places
from phi_runner.azureml.emulator.answers import accepted, error, ok
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud, now
from phi_runner.azureml.emulator.executions import TERMINAL
from phi_runner.azureml.emulator.places import Inside

_MUTABLE = ("tags", "description", "displayName", "isArchived")


def resume(cloud: Cloud) -> None:
    """Take up the jobs that an earlier emulator left."""
    executions.of(cloud)


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer requests for jobs."""
    running = executions.of(cloud)
    point = places.inside(call, "jobs")
    if point is None:
        return None
    if missing := places.absent(cloud, point):
        return missing
    if len(point.parts) == 1:
        return _list(cloud, call)
    path = f"{point.workspace}/jobs/{point.parts[1]}"
    job = cloud.get(path)
    if call.method == "PUT" and job is None:
        return _submit(cloud, call, point)
    if job is None:
        return error(404, "UserError", f"Job {point.parts[1]} was not found.", more=_inner("NotFound"))
    if point.last == "cancel":
        return _cancel(cloud, call, job, running)
    if call.method == "PUT":
        given = {name: call.body.get("properties", {}).get(name) for name in _MUTABLE}
        return ok(cloud.change(path, **{name: value for name, value in given.items() if value is not None}) or {})
    return ok(job)


def _inner(*codes: str) -> list[Body]:
    """Return how the front end wraps the codes of an error, the outer one first."""
    nested: Body | None = None
    for code in reversed(codes):
        nested = {"code": code, "innerError": nested}
    return [{"type": "InnerError", "info": {"value": nested}}]


def _list(cloud: Cloud, call: Call) -> Response:
    found = [job for job in cloud.children(call.path) if not cloud.private(job["id"]).get("parent")]
    if kind := call.query.get("jobType"):
        found = [job for job in found if job["properties"]["jobType"] == kind]
    return places.listing(call, found[::-1])


def _submit(cloud: Cloud, call: Call, point: Inside) -> Response:
    properties = call.body.get("properties") or {}
    if refusal := _refusal(cloud, properties):
        return refusal
    job = point.parts[1]
    with cloud.lock:
        if cloud.get(call.path):  # two clients at the same moment: one job
            return ok(cloud.get(call.path) or {})
        stored = enter(cloud, workspace=point.workspace, name=job, properties=properties)
        executions.of(cloud).begin(stored["id"])
    return ok(stored, 201)


def enter(cloud: Cloud, *, workspace: str, name: str, properties: Body) -> Body:
    """Store a job as its resource shows it before it runs."""
    location = cloud.settings.region
    tracking = f"azureml://{location}.api.azureml.ms/mlflow/v1.0{workspace}?"
    studio = f"https://ml.azure.com/runs/{name}?wsid={workspace}"
    services = {
        "Tracking": {"jobServiceType": "Tracking", "port": None, "endpoint": tracking, "status": None},
        "Studio": {"jobServiceType": "Studio", "port": None, "endpoint": studio, "status": None},
    }
    defaults: dict[str, Any] = {
        "experimentName": "Default", "displayName": name, "tags": {}, "properties": {}, "outputs": {}, "inputs": {},
        "isArchived": False,
    }  # fmt: skip
    given = {key: value for key, value in properties.items() if value is not None}
    stored = cloud.put(
        f"{workspace}/jobs/{name}", {"properties": defaults | given}, status="Starting", services=services
    )
    cloud.note(stored["id"], started=now())
    return stored


def _refusal(cloud: Cloud, properties: Body) -> Response | None:
    compute = str(properties.get("computeId") or "")
    if compute.startswith("/") and cloud.get(compute) is None:
        inner = _inner("BadArgument", "UnknownTargetType")
        return error(400, "UserError", f"Unknown compute target '{compute.rsplit('/', 1)[1]}'.", more=inner)
    trial = properties.get("trial") or {}
    for kind in ("codeId", "environmentId"):
        asset = str(properties.get(kind) or trial.get(kind) or "")
        if asset.startswith("/") and cloud.get(asset) is None:
            parts = asset.split("/")
            return error(
                400, "UserError", f"The {kind.removesuffix('Id')} {parts[-3]}:{parts[-1]} of the job was not found.",
                more=_inner("BadArgument", "NotFound"),
            )  # fmt: skip
    return _too_many_nodes(cloud, properties, compute)


def _too_many_nodes(cloud: Cloud, properties: Body, compute: str) -> Response | None:
    resources = properties.get("resources") or (properties.get("trial") or {}).get("resources") or {}
    nodes = int(resources.get("instanceCount") or 1)
    cluster = (cloud.get(compute) or {}).get("properties", {}).get("properties", {}) if compute else {}
    most = (cluster.get("scaleSettings") or {}).get("maxNodeCount")
    if most is None or nodes <= int(most):
        return None
    return error(
        400, "UserError",
        f"JobNodeCountExceedsCoreQuota: the job asks for {nodes} nodes, and {compute.rsplit('/', 1)[1]} has at most "
        f"{most}.", more=_inner("BadArgument", "JobNodeCountExceedsCoreQuota"),
    )  # fmt: skip


def _cancel(cloud: Cloud, call: Call, job: Body, running: executions.Executions) -> Response:
    with cloud.lock:
        if (cloud.get(job["id"]) or job)["properties"]["status"] not in TERMINAL:
            cloud.note(job["id"], cancel=True)
            cloud.change(job["id"], status="CancelRequested")

    def ended() -> None:
        running.wait(job["id"])

    return accepted(call, cloud.begin(job["id"], work=ended), None, status=202)
