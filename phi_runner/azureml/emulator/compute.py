"""Clusters, machine sizes and the quota that both clusters and deployments draw on."""

import re
from dataclasses import dataclass

from starlette.responses import Response

from phi_runner.azureml.emulator.answers import ARM_HOST, accepted, error, ok
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud, now

_COMPUTES = re.compile(r"(.+/providers/microsoft\.machinelearningservices/workspaces/[^/]+)/computes(?:/([^/]+))?")
_LOCATION = re.compile(
    r"/subscriptions/[^/]+/providers/microsoft\.machinelearningservices/locations/([^/]+)/(usages|vmsizes|quotas)"
)
_QUOTA = re.compile(r".+/providers/microsoft\.quota/(quotas|usages|quotarequests)(?:/([^/]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A machine size as the workspace lists it."""

    name: str
    family: str
    cores: int
    gpus: int
    memory_gb: float


def _sizes(*rows: tuple[str, str, int, int, float]) -> dict[str, Size]:
    return {
        name.lower(): Size(name=name, family=family, cores=cores, gpus=gpus, memory_gb=memory)
        for name, family, cores, gpus, memory in rows
    }


SIZES = _sizes(
    ("Standard_NC24ads_A100_v4", "standardNCADSA100v4Family", 24, 1, 220.0),
    ("Standard_NC48ads_A100_v4", "standardNCADSA100v4Family", 48, 2, 440.0),
    ("Standard_NC40ads_H100_v5", "standardNCADSH100v5Family", 40, 1, 320.0),
    ("Standard_ND96asr_v4", "standardNDASv4_A100Family", 96, 8, 900.0),
    ("Standard_NC4as_T4_v3", "standardNCASv3_T4Family", 4, 1, 28.0),
    ("Standard_NC6s_v3", "standardNCSv3Family", 6, 1, 112.0),
    ("Standard_E4s_v3", "standardESv3Family", 4, 0, 32.0),
    ("Standard_E8s_v3", "standardESv3Family", 8, 0, 64.0),
    ("Standard_E16s_v3", "standardESv3Family", 16, 0, 128.0),
    ("Standard_DS3_v2", "standardDSv2Family", 4, 0, 14.0),
    ("Standard_F4s_v2", "standardFSv2Family", 4, 0, 8.0),
)
"""By lower-case name; Standard_NC6s_v3 is retired, yet still listed: users' scripts name it."""


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer for computes, usages, sizes and quota requests."""
    if call.host != ARM_HOST:
        return None
    low = call.low.rstrip("/")
    if found := _LOCATION.fullmatch(low):
        return ok({"value": _listed(cloud, call, what=found[2])}) if call.method == "GET" else None
    if found := _QUOTA.fullmatch(low):
        return _quota(cloud, call, what=found[1], family=call.path.rstrip("/").rsplit("/", 1)[1] if found[2] else "")
    if (found := _COMPUTES.fullmatch(low)) and "/computes" in low:
        return _compute(cloud, call) if found[2] else ok({"value": cloud.children(call.path)})
    return None


def size(name: str) -> Size | None:
    """Return a machine size, None when there is none of that name."""
    return SIZES.get(name.lower())


def limit(cloud: Cloud, family: str) -> int:
    """Return how many cores of a family the subscription has; families are spelt in any case."""
    limits = {name.lower(): cores for name, cores in cloud.settings.quota.items()}
    raised = {name.lower(): int(cores) for name, cores in cloud.private("/quota").items()}
    return (limits | raised).get(family.lower(), 0)


def in_use(cloud: Cloud, family: str, *, without: str = "") -> int:
    """Return how many cores of a family deployments hold, not counting the one at the path `without`.

    Clusters hold none: theirs scale to no nodes when no job runs.
    """
    cores = 0
    for path in cloud.paths():
        if "/onlineendpoints/" not in path or "/deployments/" not in path or path == without.lower():
            continue
        found = cloud.get(path) or {}
        kind = size(str(found["properties"].get("instanceType") or ""))
        if kind and kind.family.lower() == family.lower() and found["properties"].get("provisioningState") != "Failed":
            cores += kind.cores * int((found.get("sku") or {}).get("capacity") or 1)
    return cores


def _families(cloud: Cloud) -> list[str]:
    return sorted({*cloud.settings.quota, *(item.family for item in SIZES.values())})


def _listed(cloud: Cloud, call: Call, *, what: str) -> list[Body]:
    if what == "vmsizes":
        return [_size_body(item) for item in SIZES.values()]
    kind = "Microsoft.MachineLearningServices/vmFamily/dedicatedCores"
    facts: list[Body] = []
    for family in _families(cloud):
        shown = {"value": family, "localizedValue": f"{family} Cluster Dedicated vCPUs"}
        body = {"id": f"{call.path}/{family}", "unit": "Count", "limit": limit(cloud, family), "name": shown}
        if what == "usages":
            facts.append(body | {"type": f"{kind}/usages", "currentValue": in_use(cloud, family)})
        else:
            facts.append(body | {"type": f"{kind}/quotas"})
    return facts


def _size_body(item: Size) -> Body:
    return {
        "name": item.name, "family": item.family, "vCPUs": item.cores, "gpus": item.gpus, "memoryGB": item.memory_gb,
        "osVhdSizeMB": 1047552, "maxResourceVolumeMB": 65536, "lowPriorityCapable": True, "premiumIO": True,
        "estimatedVMPrices": None, "supportedComputeTypes": ["AmlCompute"],
    }  # fmt: skip


def _quota(cloud: Cloud, call: Call, *, what: str, family: str) -> Response | None:
    if what == "quotarequests":
        return ok({"value": []})
    if call.method in ("PUT", "PATCH") and what == "quotas" and family:
        asked = ((call.body.get("properties") or {}).get("limit") or {}).get("value")
        if not isinstance(asked, int) or asked < 0:
            return error(400, "InvalidRequest", "properties.limit.value must be a number of cores.")
        cloud.note("/quota", **{_spelling(cloud, family): max(asked, limit(cloud, family))})
        return ok(_quota_body(cloud, call.path, family, what=what))  # 200 or 202: clients refuse 201
    if call.method != "GET":
        return None
    if family:
        return ok(_quota_body(cloud, call.path, family, what=what))
    return ok({"value": [_quota_body(cloud, f"{call.path}/{item}", item, what=what) for item in _families(cloud)]})


def _spelling(cloud: Cloud, family: str) -> str:
    """Return a family as the region spells it: one is not to be raised under two names."""
    return next((item for item in _families(cloud) if item.lower() == family.lower()), family)


def _quota_body(cloud: Cloud, path: str, family: str, *, what: str) -> Body:
    properties: Body = {"name": {"value": family, "localizedValue": family}, "unit": "Count", "isQuotaApplicable": True}
    if what == "usages":
        properties["usages"] = {"value": in_use(cloud, family)}
    else:
        properties |= {
            "limit": {"limitObjectType": "LimitValue", "limitType": "Independent", "value": limit(cloud, family)},
            "provisioningState": "Succeeded",
        }
    return {"id": path, "name": family, "type": f"Microsoft.Quota/{what}", "properties": properties}


def _compute(cloud: Cloud, call: Call) -> Response | None:
    found = cloud.get(call.path)
    match call.method:
        case "PUT" | "PATCH":
            return _put(cloud, call, before=found)
        case "GET" if found:
            return ok(found)
        case "DELETE" if found:
            cloud.change(call.path, provisioningState="Deleting")
            return accepted(call, cloud.begin(call.path, remove=True), None, status=202)
        case "DELETE":
            return Response(status_code=204)
        case "GET":
            name = call.path.rstrip("/").rsplit("/", 1)[1]
            return error(404, "ResourceNotFound", f"Compute {name} not found in workspace {call.path.split('/')[8]}.")
        case _:
            return None


def _put(cloud: Cloud, call: Call, *, before: Body | None) -> Response:
    wanted = {**((before or {}).get("properties") or {}), **(call.body.get("properties") or {})}
    cluster: Body = wanted.get("properties") or {}
    if wanted.get("computeType") == "AmlCompute" and (problem := _problem(cloud, cluster)):
        return error(400, "BadRequest", problem)
    state = "Updating" if before else "Creating"
    body = {**(before or {}), **call.body, "properties": wanted}
    created = wanted.get("createdOn") or now()
    made = cloud.put(
        call.path, body, provisioningState=state, createdOn=created, modifiedOn=now(), isAttachedCompute=False
    )
    steady = cluster | {
        "allocationState": "Steady", "allocationStateTransitionTime": now(), "currentNodeCount": 0,
        "targetNodeCount": 0, "errors": None, "nodeStateCounts": {},
    }  # fmt: skip
    done = {"provisioningState": "Succeeded", "properties": steady}
    return accepted(call, cloud.begin(call.path, set_properties=done), made, status=200 if before else 201)


def _problem(cloud: Cloud, cluster: Body) -> str:
    """Return why a cluster cannot be made, in the service's words."""
    name = str(cluster.get("vmSize") or "")
    kind = size(name)
    if kind is None:
        return f"The specified Azure Machine Learning Compute VM size '{name}' is not supported in this region."
    scale: Body = cluster.get("scaleSettings") or {}
    nodes, quota = max(int(scale.get("maxNodeCount") or 1), 1), limit(cloud, kind.family)
    if quota < kind.cores:
        return (  # their spelling
            f"The specified subscription has a total vCPU quota of {quota} and cannot accomodate for at least 1 "
            f"requested managed compute node which maps to {kind.cores} vCPUs."
        )
    if quota < nodes * kind.cores:
        return (
            f"The specified subscription has a total vCPU quota of {quota} and is less than the requested cluster. "
            "[ClusterCoreQuotaReached] Operation results in exceeding quota limits of Cores. Maximum allowed: "
            f"{quota}, Current in use: {in_use(cloud, kind.family)}, Additional requested: {nodes * kind.cores}."
        )
    return ""
